//! Behaviour of the engine, seen from outside.

mod promqltest;

/// Every file under `data` passes.
fn check_file(name: &str, text: &str) {
    let report = promqltest::run(text).unwrap_or_else(|fault| panic!("{name}: {fault}"));
    let show = |failure: &promqltest::Failure| {
        format!("{name}:{}: {}\n      {}", failure.line, failure.expr, failure.difference)
    };
    let failures: Vec<String> = report.failures.iter().map(show).collect();
    assert!(failures.is_empty() && report.passed > 0, "{}", failures.join("\n"));
}
