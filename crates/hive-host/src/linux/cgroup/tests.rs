//! Which group binds, on trees of every kind that is met.

use super::*;

const APPS: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice";

/// A version 2 tree made of files.
struct Tree(tempfile::TempDir);

impl Tree {
    /// `divide` are the groups that hand the processor controller to their children.
    fn new(divide: &[&str]) -> Self {
        let tree = Self(tempfile::tempdir().expect("a folder"));
        for path in divide {
            tree.says(path, "cpu memory pids");
        }
        tree
    }

    fn says(&self, path: &str, controllers: &str) {
        let folder = self.0.path().join(format!("fs/cgroup{path}"));
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("cgroup.subtree_control"), controllers).expect("written");
    }

    fn cgroups(&self) -> Cgroups {
        Cgroups::new(self.0.path(), 1_000)
    }

    /// What binds each of these.
    fn binding<const N: usize>(&self, homes: [&str; N]) -> [CgroupId; N] {
        let mut cgroups = self.cgroups();
        homes.map(|home| {
            let home = cgroups.enter(&format!("0::{home}\n"));
            cgroups.binding(home)
        })
    }
}

fn two(path: &str) -> CgroupId {
    fingerprint(Version::Two, path)
}

#[test]
fn in_version_1_the_cpu_line_decides() {
    let tree = Tree::new(&[]);
    let mut cgroups = tree.cgroups();
    let mut binding = |text: &str| {
        let home = cgroups.enter(text);
        cgroups.binding(home)
    };
    let one = |path| fingerprint(Version::One, path);
    let hybrid = "9:name=systemd:/x\n2:cpuacct:/b\n1:cpu:/a\n0::/c\n";
    assert_eq!(binding(hybrid), one("/a"));
    assert_eq!(binding("1:cpu,cpuacct:/a/b\n"), one("/a/b"));
    assert_eq!(binding("3:cpu,cpuacct:/\n0::/c\n"), ROOT);
    assert_eq!(binding("3:cpuset:/a\n"), ROOT);
    assert_eq!(binding("1:cpu:/../a\n0::/c\n"), ROOT);
    assert_eq!(binding("garbage"), ROOT);
}

#[test]
fn in_version_2_a_group_weighs_where_the_one_above_hands_the_controller_down() {
    let tree = Tree::new(&["/"]);
    let slice = two("/user.slice");
    assert_eq!(
        tree.binding([
            "/user.slice/deep/deeper",
            "/user.slice",
            "/",
            "/../user.slice"
        ]),
        [slice, slice, ROOT, ROOT]
    );
    // Memory alone binds nothing, and neither does a controller that is only at hand.
    let tree = Tree::new(&[]);
    tree.says("/", "memory pids cpuset");
    assert_eq!(tree.binding(["/user.slice/deep"]), [ROOT]);
}

#[test]
fn on_a_stock_desktop_the_slices_bind_and_two_applications_share_one() {
    // Debian 12, Fedora: `user@.service` delegates the controller, and the shipped slices have weights.
    let manager = "/user.slice/user-1000.slice/user@1000.service";
    let tree = Tree::new(&["/", "/user.slice", "/user.slice/user-1000.slice", manager]);
    let [browser, tab, shell, login, service] = tree.binding([
        &format!("{APPS}/app-gnome-browser-7.scope"),
        &format!("{APPS}/app-org.gnome.Terminal.slice/vte-spawn-1.scope"),
        &format!("{manager}/session.slice/org.gnome.Shell@wayland.service"),
        "/user.slice/user-1000.slice/session-3.scope",
        "/system.slice/cron.service",
    ]);
    assert_eq!((browser, tab), (two(APPS), two(APPS)), "tasks decide");
    assert_eq!(shell, two(&format!("{manager}/session.slice")));
    assert_eq!(login, two("/user.slice/user-1000.slice/session-3.scope"));
    assert_eq!(service, two("/system.slice"));
    // A weight on one application makes all of them weigh, and no tab of the terminal against another.
    tree.says(APPS, "cpu");
    let terminal = format!("{APPS}/app-org.gnome.Terminal.slice");
    let one = format!("{terminal}/vte-spawn-1.scope");
    let other = format!("{terminal}/vte-spawn-2.scope");
    let browser = format!("{APPS}/app-gnome-browser-7.scope");
    assert_eq!(
        tree.binding([&browser, &one, &other]),
        [two(&browser), two(&terminal), two(&terminal)]
    );
}

#[test]
fn without_a_delegated_controller_nothing_below_the_user_binds() {
    // An older `user@.service` delegates memory and pids only; two logins over ssh are one where nobody asked for more.
    let tree = Tree::new(&["/"]);
    tree.says("/user.slice", "memory pids");
    tree.says("/user.slice/user-1000.slice", "memory pids");
    let all = tree.binding([
        &format!("{APPS}/app-gnome-browser-7.scope"),
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice/session-4.scope",
    ]);
    assert_eq!(all, [two("/user.slice"); 3]);
    // And where even the root hands nothing down, autogroups decide.
    let tree = Tree::new(&[]);
    tree.says("/", "memory pids");
    assert_eq!(
        tree.binding([&format!("{APPS}/app-gnome-browser-7.scope"), "/init.scope"]),
        [ROOT; 2]
    );
}

#[test]
fn the_binding_is_told_as_it_was_before_our_own_weights() {
    let tree = Tree::new(&["/"]);
    let mut cgroups = tree.cgroups();
    let scope = |name: &str| format!("0::{APPS}/{name}.scope\n");
    let one = cgroups.enter(&scope("one"));
    assert_eq!(cgroups.binding(one), two("/user.slice"));
    tree.says(APPS, "cpu");
    // Also of one that came meanwhile.
    let later = cgroups.enter(&scope("later"));
    let living = BTreeSet::from([one, later]);
    cgroups.refresh(&living, Ours::On);
    assert_eq!(cgroups.binding(one), two("/user.slice"));
    assert_eq!(cgroups.binding(later), two("/user.slice"));
    cgroups.refresh(&living, Ours::Off);
    assert_eq!((cgroups.binding(one), cgroups.binding(later)), (one, later));
    cgroups.refresh(&BTreeSet::from([one]), Ours::Off);
    assert!(cgroups.unit(later).is_none(), "nobody lives in it");
}

#[test]
fn only_units_of_the_users_own_applications_are_weighed() {
    let kind = |path: &str| kind(Version::Two, path, 1_000);
    let applications = [
        "/app-gnome-browser-7.scope",
        "/app-org.gnome.Terminal.slice",
        "/app-org.gnome.Terminal.slice/vte-spawn-1.scope",
        "/app-firefox@2f.service",
    ];
    for path in applications {
        assert_eq!(kind(&format!("{APPS}{path}")), CgroupKind::Application);
    }
    let manager = "/user.slice/user-1000.slice/user@1000.service";
    let others = [
        APPS.to_owned(),
        // What an application made below its own unit is its own, not the manager's.
        format!("{APPS}/app-konsole-7.scope/tab(3)"),
        format!("{APPS}/_x.scope"),
        // Also where it has the name of a unit that the manager has elsewhere.
        format!("{APPS}/app-manager-7.scope/dbus.service"),
        format!("{APPS}/app-manager@1.service/app.slice/dbus.service"),
        format!("{APPS}/app-manager@1.service/x.slice"),
        format!("{manager}/session.slice/org.gnome.Shell@wayland.service"),
        format!("{manager}/background.slice/tracker.service"),
        format!("{manager}/init.scope"),
        "/user.slice/user-1001.slice/user@1001.service/app.slice/a.scope".to_owned(),
        "/user.slice/user-1000.slice/session-3.scope".to_owned(),
        "/system.slice/cron.service".to_owned(),
    ];
    for path in &others {
        assert_eq!(kind(path), CgroupKind::Other, "{path}");
    }
    let containers = [
        "/system.slice/docker-0a1b.scope",
        "/docker/0a1b",
        "/machine.slice/libpod-0a1b.scope/container",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-0a1b.scope",
        "/lxc.payload.web/system.slice/nginx.service",
        "/kubepods.slice/kubepods-burstable.slice/cri-containerd-0a.scope",
    ];
    for path in containers {
        assert_eq!(kind(path), CgroupKind::Container, "{path}");
    }
}
