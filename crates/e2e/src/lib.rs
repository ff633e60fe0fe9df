//! Black-box tests over the real binaries, and over real Prometheus and Chromium. Nothing here ships; see `tests/it`.
