//! Unit tests of rules: the verdicts are those of promtool, which is asked where it is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use judge::{TestReport, run_test_file};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/rule_tests")
}

/// The files of tests; what they are expected to come to is the beginning of their names.
fn files() -> Vec<(PathBuf, bool)> {
    let entries = std::fs::read_dir(folder()).unwrap().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    let verdict = |file: PathBuf| {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let passes = name.starts_with("pass_");
        (passes || name.starts_with("fail_")).then_some((file, passes))
    };
    files.into_iter().filter_map(verdict).collect()
}

async fn run(name: &str) -> TestReport {
    run_test_file(&folder().join(name)).await
}

#[tokio::test]
async fn every_file_passes_or_fails_as_its_name_says() {
    let files = files();
    assert!(files.len() >= 15, "only {} files", files.len());
    for (file, passes) in files {
        let report = run_test_file(&file).await;
        assert_eq!(report.failures.is_empty(), passes, "{}: {report:#?}", file.display());
    }
}

#[test]
fn promtool_comes_to_the_same_verdicts() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("promtool is not installed here");
        return;
    }
    // The promtool of Debian does not know histograms in results.
    let is_known = |(file, _): &(PathBuf, bool)| !file.to_string_lossy().ends_with("_natives.yml");
    for (file, passes) in files().into_iter().filter(is_known) {
        let output = Command::new("promtool").args(["test", "rules"]).arg(&file).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), passes, "{}: {text}", file.display());
    }
}

#[tokio::test]
async fn a_failure_names_test_alert_time_and_difference() {
    let report = run("fail_not_firing.yml").await;
    let [failure] = report.failures.as_slice() else { panic!("{report:#?}") };
    assert!(failure.starts_with("name: too early, alertname: HostDown, time: 4m,"), "{failure}");
    assert!(failure.contains("got: []"), "{failure}");
    assert!(failure.contains("- expected, does not fire: {alertname=\"HostDown\""), "{failure}");
    let report = run("fail_rule_syntax.yml").await;
    assert!(report.failures[0].contains("bad_syntax.yml:4: "), "{report:#?}");
}

#[tokio::test]
async fn a_pattern_without_files_is_a_warning() {
    let report = run("pass_templates.yml").await;
    assert_eq!(report.warnings, ["no file matches none-*.yml"]);
    let report = run("no_such_file.yml").await;
    assert!(report.failures[0].contains("cannot be read"), "{report:#?}");
}

#[tokio::test]
async fn what_newer_promtools_know_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.yml");
    let text = "fuzzy_compare: true\ntests:\n- interval: 1m\n  start_timestamp: 2026-01-01T00:00:00Z\n  \
                input_series: [{series: a, values: '0.1x3'}]\n  promql_expr_test:\n  \
                - {expr: a + 0.2, eval_time: 1m, exp_samples: [{labels: '{}', value: 0.3}]}\n  \
                - {expr: time(), eval_time: 1m, exp_samples: [{value: 1767225660}]}\n";
    std::fs::write(&file, text).unwrap();
    assert_eq!(run_test_file(&file).await.failures, Vec::<String>::new());
}
