//! Stories of one machine that tries, proves, keeps and takes back, on a toy machine with known truth.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a toy's counters"
)]

use hive_core::event_log::Happening;
use hive_core::pattern::{Action, Verdict};
use hive_core::reply::PatternState;

#[path = "machine/toy.rs"]
mod toy;
use toy::{Plan, World};

#[test]
fn a_strong_action_is_found_within_twelve_pairs_and_stays_on() {
    let mut late = 0;
    for seed in 0..20 {
        let mut world = World::new(Plan::strong(seed));
        let found = world.run_until(60, |w| {
            w.pattern(Action::BackgroundNice)
                .is_some_and(|p| p.verdict == Verdict::Helps)
        });
        let pattern = world.pattern(Action::BackgroundNice).expect("tried first");
        assert!(found, "seed {seed}: {pattern:?}");
        // The spread of a pair is 0.28 here: within twelve pairs nineteen times of twenty.
        late += u32::from(pattern.pairs > 12);
        let [low, high] = pattern.ci.expect("a range");
        assert!(low < 0.4 && 0.4 < high, "seed {seed}: [{low}, {high}]");
        let loss = pattern.background_loss.expect("measured");
        assert!((loss - 0.17).abs() < 0.05, "seed {seed}: loss {loss}");
        assert!(pattern.placebo.expect("taken").pairs >= 3);
        world.run(5);
        assert!(world.on.is_some(), "seed {seed}");
        let said = world.published.last().expect("said at once").1;
        assert_eq!(
            (said.verdict, said.trial.pairs),
            (Verdict::Helps, pattern.pairs)
        );
        assert!(world.tells.contains(&Happening::TurnedOn {
            action: Action::BackgroundNice
        }));
        assert_eq!(pattern.state, PatternState::Proven);
    }
    assert!(late <= 1, "{late} of 20 needed more than twelve pairs");
}
