//! The Debian packages, their units, and the shell scripts that ship.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use testkit::{binary, program};

use crate::stack::repository;

const VERSION: &str = "9.9.1";

/// A folder in which both packages are installed, as `debootstrap` would build an image.
struct Image {
    dir: tempfile::TempDir,
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Image {
    fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let script = repository().join("scripts/package");
        let mut package = Command::new(script);
        package.args(["--no-build", "--profile", profile, "--version", VERSION, "--out"]);
        run(package.arg(dir.path().join("dist")));
        let image = Self { dir };
        for folder in ["root", "admin/updates", "admin/info", "admin/triggers"] {
            fs::create_dir_all(image.path(folder)).unwrap();
        }
        for file in ["admin/status", "admin/available"] {
            fs::write(image.path(file), "").unwrap();
        }
        image
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn dpkg(&self, args: &[&str]) {
        let mut dpkg = Command::new("dpkg");
        dpkg.arg("--instdir").arg(self.path("root")).arg("--admindir").arg(self.path("admin"));
        dpkg.args(["--force-script-chrootless", "--force-not-root", "--force-depends"]);
        run(dpkg.args(args));
    }

    fn install(&self) {
        for entry in fs::read_dir(self.path("dist")).unwrap() {
            let file = entry.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "deb") {
                self.dpkg(&["--install", file.to_str().unwrap()]);
            }
        }
    }
}

#[test]
fn the_packages_install_what_their_units_start_and_purge_leaves_nothing() {
    if program("dpkg-deb").is_none() {
        return;
    }
    let image = Image::build();
    image.install();
    let root = image.path("root");
    for file in [
        "usr/lib/saker/saker-launcher",
        "usr/lib/saker/baseline/version",
        "lib/systemd/system/saker-agent.service",
        "lib/systemd/system/saker@.service",
        "etc/saker/rules/host.yml",
        "opt/saker/agent/versions",
    ] {
        assert!(root.join(file).exists(), "{file} is not installed");
    }
    let agent = root.join("usr/bin/saker-agent");
    let said = text(&run(Command::new(&agent).arg("version")));
    assert_eq!(said, format!("saker-agent {VERSION}\n"));
    let config = root.join("etc/saker/agent.toml");
    run(Command::new(&agent).args(["check", "--preflight", "--config"]).arg(&config));
    let launcher = root.join("usr/lib/saker/saker-launcher");
    let baseline = root.join("usr/lib/saker/baseline/saker-agent");
    let mut launch = Command::new(launcher);
    launch.arg("--base").arg(root.join("opt/saker/agent")).arg("--baseline").arg(baseline);
    assert_eq!(text(&run(launch.args(["--", "version"]))), said);
    let told = text(&run(Command::new(root.join("usr/bin/saker")).arg("--version")));
    assert!(told.starts_with("saker "), "{told}");

    // What an operator changed in the configuration outlives another package.
    fs::write(&config, "endpoint = \"mine\"\n").unwrap();
    image.install();
    assert_eq!(fs::read_to_string(&config).unwrap(), "endpoint = \"mine\"\n");

    image.dpkg(&["--purge", "saker-agent", "saker-server"]);
    for folder in ["opt/saker", "usr/lib/saker", "etc/saker"] {
        assert!(!root.join(folder).exists(), "{folder} is left");
    }
}

#[test]
fn the_units_are_valid_and_little_exposed() {
    let Some(analyze) = program("systemd-analyze") else { return };
    let dir = tempfile::tempdir().unwrap();
    for (unit, name, most) in [
        ("saker-agent.service", "saker-agent.service", 2.5),
        ("saker@.service", "saker@hbs.service", 2.5),
    ] {
        let text = fs::read_to_string(repository().join("systemd").join(unit)).unwrap();
        // `verify` looks for the program; `security` does not care.
        let file = dir.path().join(name);
        let launcher = binary("saker-launcher").display().to_string();
        let text = text.replace("/usr/lib/saker/saker-launcher", &launcher);
        fs::write(&file, text.replace("/usr/bin/saker ", "/bin/true ")).unwrap();
        let verified = run(Command::new(&analyze).arg("verify").arg(&file));
        let told = String::from_utf8_lossy(&verified.stderr).into_owned();
        let about_us: Vec<_> = told.lines().filter(|line| line.contains("saker")).collect();
        assert!(about_us.is_empty(), "{about_us:?}");
        let judged = run(Command::new(&analyze).args(["security", "--offline=true"]).arg(&file));
        let judged = text_of_level(&text_lossy(&judged.stdout));
        assert!(judged <= most, "{unit} is exposed {judged}");
    }
}

fn text_lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text_of_level(told: &str) -> f64 {
    let line = told.lines().find(|line| line.contains("Overall exposure level")).unwrap();
    line.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// ux.md 5.3: each of these directives has broken a monitoring agent.
#[test]
fn the_agents_unit_falls_into_no_known_trap() {
    let text = fs::read_to_string(repository().join("systemd/saker-agent.service")).unwrap();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for trap in [
        "ProtectClock=",
        "ProtectHome=yes",
        "ProcSubset=",
        "ProtectProc=",
        "PrivateNetwork=",
        "PrivateUsers=",
        "PrivateMounts=",
        "SocketBindDeny=any",
    ] {
        assert!(!lines.iter().any(|line| line.starts_with(trap)), "{trap}");
    }
    for need in ["StartLimitIntervalSec=0", "Restart=always", "Type=notify", "WatchdogSec=60"] {
        assert!(lines.contains(&need), "{need}");
    }
    let filters: Vec<_> =
        lines.iter().filter(|line| line.starts_with("SystemCallFilter=")).collect();
    assert!(filters[1].contains("~@privileged") && filters[2].contains("=adjtimex"), "{filters:?}");
}

#[test]
fn the_arguments_of_the_units_are_those_of_the_programs() {
    let args = |unit: &str| -> Vec<String> {
        let text = fs::read_to_string(repository().join("systemd").join(unit)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
        line.split(' ').skip(1).map(str::to_owned).collect()
    };
    let agent = args("saker-agent.service");
    assert_eq!(agent[0], "--", "the launcher takes its defaults");
    run(Command::new(binary("saker-agent")).args(&agent[1..]).arg("--help"));
    for role in ["standalone", "transfer", "hbs", "judge", "alarm", "apiproxy"] {
        let args: Vec<_> =
            args("saker@.service").iter().map(|arg| arg.replace("%i", role)).collect();
        run(Command::new(binary("saker")).args(&args).arg("--help"));
    }
}

#[test]
fn the_shell_scripts_are_shell() {
    let scripts = repository().join("scripts");
    let check = |shell: &str, file: &Path| {
        run(Command::new(shell).arg("-n").arg(file));
    };
    for script in ["quickstart", "test", "package"] {
        check("bash", &scripts.join(script));
    }
    for package in ["agent", "server"] {
        for script in ["postinst", "prerm", "postrm"] {
            check("sh", &scripts.join("deb").join(package).join(script));
        }
    }
}
