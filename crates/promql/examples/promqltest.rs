//! Runs files of Prometheus' PromQL test format: `cargo run -p promql --example promqltest --
//! FILE…`. Prints how many evaluations of each file passed and every failure; ends with 1 if there
//! is any, with 2 if a file cannot be read.

use std::io::Write;
use std::process::ExitCode;

#[path = "../tests/it/promqltest/mod.rs"]
mod promqltest;

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    match run_all(&mut out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            drop(writeln!(out, "{error}"));
            ExitCode::from(2)
        }
    }
}

fn run_all(out: &mut impl Write) -> std::io::Result<bool> {
    let (mut passed, mut total) = (0, 0);
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path)?;
        let report = promqltest::run(&text)
            .map_err(|fault| std::io::Error::other(format!("{path}: {fault}")))?;
        for promqltest::Failure { line, expr, difference } in &report.failures {
            writeln!(out, "{path}:{line}: {expr}\n      {difference}")?;
        }
        let promqltest::Report { passed: good, failures } = report;
        writeln!(out, "{path}: {good}/{}", good + failures.len())?;
        passed += good;
        total += good + failures.len();
    }
    writeln!(out, "total: {passed}/{total}")?;
    Ok(passed == total)
}
