//! `docs/performance.md`, made from the results and from nothing else.

use std::fmt::Write as _;

use crate::results::{Figure, Results, Row, Run};
use crate::targets::KINDS;
use crate::workloads::{WORKLOADS, Work, Workload};

const HEAD: &str = include_str!("report/head.md");
const TAIL: &str = include_str!("report/tail.md");

/// A column: name of the figure, heading, digits after the point, whether least and most are shown.
type Column = (&'static str, &'static str, usize, bool);

const REQUESTS: &[Column] = &[
    ("cpu", "CPU µs", 1, true),
    ("ratio", "÷ floor", 2, true),
    ("rate", "per s", 0, false),
    ("p50", "p50 µs", 0, false),
    ("p99", "p99 µs", 0, false),
    ("p999", "p99.9 µs", 0, false),
    ("pss", "PSS MiB", 1, false),
];
const FLOWS: &[Column] = &[
    ("cpu", "CPU µs", 0, true),
    ("rate", "per s", 0, false),
    ("p50", "p50 µs", 0, false),
    ("p99", "p99 µs", 0, false),
    ("pss", "PSS MiB", 1, false),
];
const IDLE: &[Column] = &[
    ("streams", "streams", 0, false),
    ("idle_mib", "idle MiB", 1, false),
    ("open_mib", "open MiB", 1, false),
    ("stream_kib", "KiB per stream", 1, false),
    ("still_us", "CPU µs per stream and s", 2, false),
    ("returned", "returned %", 0, false),
    ("returned_s", "80 % after s", 0, false),
];
const START: &[Column] = &[
    ("first_ms", "first answer ms", 1, true),
    ("start_cpu_ms", "CPU ms", 1, false),
    ("idle_mib", "PSS MiB", 1, false),
    ("size_mib", "program MiB", 1, false),
];

/// The whole document.
pub(crate) fn render(results: &Results) -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n## Targets\n\n");
    goals(&mut text, results);
    for workload in &WORKLOADS {
        if let Some(run) = results.runs.get(workload.name) {
            section(&mut text, workload, run);
        }
    }
    text.push_str("\n## What the names mean\n\n| name | is |\n|---|---|\n");
    for kind in &KINDS {
        let _ = writeln!(text, "| {} | {} |", kind.name, kind.what);
    }
    text.push('\n');
    text.push_str(TAIL);
    text
}

fn section(text: &mut String, workload: &Workload, run: &Run) {
    let columns = match workload.work {
        Work::Flow | Work::Refresh => FLOWS,
        Work::Idle => IDLE,
        Work::Start => START,
        _ => REQUESTS,
    };
    let _ = write!(
        text,
        "\n## {}\n\n{}.\n\n| target |",
        workload.name, workload.what
    );
    for (_, heading, _, _) in columns {
        let _ = write!(text, " {heading} |");
    }
    let _ = write!(text, "\n|---|{}\n", "---|".repeat(columns.len()));
    for row in &run.rows {
        line(text, row, columns);
    }
    let versions: Vec<&str> = run
        .rows
        .iter()
        .map(|row| row.version.as_str())
        .filter(|version| !version.is_empty())
        .collect();
    let mut distinct: Vec<&str> = Vec::new();
    for version in versions {
        if !distinct.contains(&version) {
            distinct.push(version);
        }
    }
    let [before, after] = run.load_average;
    let _ = writeln!(
        text,
        "\n{} on {}, load average {before:.1} before and {after:.1} after; commit {}; `{}`. {}",
        run.date,
        run.machine,
        run.commit,
        run.command,
        if distinct.is_empty() {
            String::new()
        } else {
            format!("{}.", distinct.join("; "))
        }
    );
}

fn line(text: &mut String, row: &Row, columns: &[Column]) {
    let _ = write!(text, "| {} |", row.target);
    for (index, (name, _, digits, spread)) in columns.iter().enumerate() {
        let cell = match (row.figures.get(*name), &row.absent) {
            (Some(figure), _) => cell(*figure, *digits, *spread),
            (None, Some(absent)) if index == 0 => absent.clone(),
            _ => "–".to_owned(),
        };
        let _ = write!(text, " {cell} |");
    }
    text.push('\n');
}

fn cell(figure: Figure, digits: usize, spread: bool) -> String {
    let Figure {
        median,
        least,
        most,
    } = figure;
    if spread && most > least {
        format!("{median:.digits$} ({least:.digits$}–{most:.digits$})")
    } else {
        format!("{median:.digits$}")
    }
}

/// One goal: what it is called, what is asked, what is measured, the bound, the unit.
struct Goal {
    name: &'static str,
    what: &'static str,
    measured: Option<f64>,
    bound: f64,
    unit: &'static str,
    /// More is better.
    at_least: bool,
}

fn goals(text: &mut String, results: &Results) {
    let median = |workload, target, figure| results.median(workload, target, figure);
    let quotient = |workload, target, floor| {
        Some(median(workload, target, "cpu")? / median(workload, floor, "cpu")?)
    };
    let difference = |workload, target, floor, figure| {
        Some(median(workload, target, figure)? - median(workload, floor, figure)?)
    };
    let most = |name, what, measured, bound, unit| Goal {
        name,
        what,
        measured,
        bound,
        unit,
        at_least: false,
    };
    let list = [
        most(
            "P1",
            "W1, own sealed token, CPU ÷ floor",
            median("W1", "vestibule", "ratio"),
            1.30,
            "×",
        ),
        most(
            "P1",
            "the same with the default credential",
            median("W1", "vestibule-credential", "ratio"),
            1.30,
            "×",
        ),
        most(
            "P1",
            "the same with JWTs that come again",
            median("W1", "vestibule-jwt", "ratio"),
            1.30,
            "×",
        ),
        most(
            "P1",
            "beyond: ÷ floor",
            median("W1", "vestibule", "ratio"),
            1.00,
            "×",
        ),
        most(
            "P2",
            "W1d, JWTs that do not come again soon, CPU ÷ floor-rs256",
            quotient("W1d", "vestibule-jwt", "floor-rs256"),
            1.15,
            "×",
        ),
        most(
            "P3",
            "W1, a rule that reads each body, CPU above P1",
            difference("W1", "vestibule-rules", "vestibule", "cpu"),
            2.0,
            "µs",
        ),
        most(
            "P4",
            "W2p, CPU for each event ÷ floor",
            median("W2p", "vestibule", "ratio"),
            1.15,
            "×",
        ),
        most(
            "P4",
            "W2p, median delay above the floor's",
            difference("W2p", "vestibule", "floor", "p50"),
            20.0,
            "µs",
        ),
        most(
            "P5",
            "W3, CPU ÷ the floor's 401",
            median("W3", "vestibule", "ratio"),
            1.30,
            "×",
        ),
        most(
            "P5",
            "W4, CPU ÷ the floor's document",
            median("W4", "vestibule", "ratio"),
            1.30,
            "×",
        ),
        most(
            "P6",
            "W5, CPU for a whole sign-in",
            median("W5", "vestibule", "cpu"),
            500.0,
            "µs",
        ),
        most(
            "P6",
            "W6, CPU for a refresh",
            median("W6", "vestibule", "cpu"),
            150.0,
            "µs",
        ),
        most(
            "P7",
            "W7, memory when idle",
            median("W7", "vestibule", "idle_mib"),
            12.0,
            "MiB",
        ),
        most(
            "P7",
            "W7, memory for each idle stream",
            median("W7", "vestibule", "stream_kib"),
            32.0,
            "KiB",
        ),
        most(
            "P7",
            "beyond: memory for each idle stream",
            median("W7", "vestibule", "stream_kib"),
            20.0,
            "KiB",
        ),
        Goal {
            at_least: true,
            ..most(
                "P7",
                "W7, memory returned within a minute",
                median("W7", "vestibule", "returned"),
                80.0,
                "%",
            )
        },
        most(
            "P8",
            "W8, start to the first 401",
            median("W8", "vestibule", "first_ms"),
            20.0,
            "ms",
        ),
        most(
            "P8",
            "W8, size of the program",
            median("W8", "vestibule", "size_mib"),
            15.0,
            "MiB",
        ),
    ];
    text.push_str("| goal | what | bound | measured | |\n|---|---|---|---|---|\n");
    for Goal {
        name,
        what,
        measured,
        bound,
        unit,
        at_least,
    } in list
    {
        let Some(measured) = measured else {
            let _ = writeln!(
                text,
                "| {name} | {what} | {bound} {unit} | not measured | |"
            );
            continue;
        };
        let met = if at_least {
            measured >= bound
        } else {
            measured <= bound
        };
        let verdict = if met {
            "met".to_owned()
        } else {
            format!(
                "missed by {:.0} %",
                ((measured - bound) / bound * 100.0).abs()
            )
        };
        let sign = if at_least { "≥" } else { "≤" };
        let _ = writeln!(
            text,
            "| {name} | {what} | {sign} {bound} {unit} | {measured:.2} {unit} | {verdict} |"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_what_the_results_say() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let results = Results::load(&root.join("results.json")).unwrap();
        let document = std::fs::read_to_string(root.join("../docs/performance.md")).unwrap();
        assert!(
            render(&results) == document,
            "docs/performance.md was edited by hand or is old: `./bench --render`"
        );
    }

    #[test]
    fn a_missed_goal_is_said_to_be_missed() {
        let mut results = Results::default();
        let figures = [(
            "ratio".to_owned(),
            Figure {
                median: 1.56,
                ..Figure::default()
            },
        )];
        let row = Row {
            target: "vestibule".to_owned(),
            figures: figures.into(),
            ..Row::default()
        };
        results.runs.insert(
            "W1".to_owned(),
            Run {
                rows: vec![row],
                ..Run::default()
            },
        );
        let text = render(&results);
        assert!(
            text.contains("| ≤ 1.3 × | 1.56 × | missed by 20 % |"),
            "{text}"
        );
        assert!(text.contains("not measured"));
    }
}
