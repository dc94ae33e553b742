//! Views into text: pure functions, 80 columns, words instead of signs, and never an empty screen.

pub(crate) mod text;
pub(crate) mod doctor;
pub(crate) mod members;
pub(crate) mod patterns;
pub(crate) mod qr;
pub(crate) mod status;

use serde::Serialize;

/// Prints a view as JSON with its schema's name. Fields are only ever added within a version.
pub(crate) fn json<T: Serialize>(schema: &str, view: &T) -> Result<String, serde_json::Error> {
    let mut object = serde_json::Map::new();
    object.insert("schema".to_owned(), schema.into());
    if let serde_json::Value::Object(fields) = serde_json::to_value(view)? {
        object.extend(fields);
    }
    let mut out = serde_json::to_string_pretty(&object)?;
    out.push('\n');
    Ok(out)
}

#[cfg(test)]
mod tests {
    use hive_mind::reply::UndoneView;

    use super::*;

    #[test]
    fn json_carries_the_schema_beside_the_views_own_fields() {
        let view = UndoneView {
            changes: 1,
            restored: 4,
            ..UndoneView::default()
        };
        let text = json("hive.undo/1", &view).expect("plain data");
        let value: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!(value["schema"], "hive.undo/1");
        assert_eq!(value["restored"], 4);
    }
}
