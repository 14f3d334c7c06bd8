//! Names of metrics: as Prometheus wants them, and the same in documents, alerts and dashboard.

use std::collections::BTreeSet;

use vestibule::metrics::{Described, Metrics};

use super::{exposition, house};
use crate::docs::{read, root};

/// Behind the name of a histogram.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

fn described() -> Vec<Described> {
    Metrics::default().described().to_vec()
}

/// Every name that a query may have.
fn known() -> BTreeSet<String> {
    let names = described()
        .into_iter()
        .flat_map(|metric| match metric.kind {
            "histogram" => PARTS.map(|part| format!("{}{part}", metric.name)).to_vec(),
            _ => vec![metric.name],
        });
    names.collect()
}

/// The rules of `promtool check metrics`, and of OpenMetrics about units.
#[test]
fn every_name_says_its_unit_and_kind_and_every_metric_is_explained() {
    const UNITS: [&str; 9] = [
        "ms",
        "milliseconds",
        "minutes",
        "hours",
        "days",
        "kilobytes",
        "percent",
        "microseconds",
        "nanoseconds",
    ];
    let metrics = described();
    let names: BTreeSet<_> = metrics.iter().map(|metric| &metric.name).collect();
    assert_eq!(names.len(), metrics.len());
    for Described {
        name,
        kind,
        labels,
        help,
    } in &metrics
    {
        let common = name.starts_with("process_");
        assert!(common || name.starts_with("vestibule_"), "{name}");
        let plain = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        assert!(plain(name), "{name}");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
        assert_eq!(*kind == "info", name.ends_with("_info"), "{name}");
        assert_eq!(
            *kind == "histogram",
            name.ends_with("_duration_seconds"),
            "{name}"
        );
        assert!(!PARTS.iter().any(|part| name.ends_with(part)), "{name}");
        for unit in UNITS {
            assert!(!name.split('_').any(|word| word == unit), "{name}");
        }
        let word = ["counter", "gauge", "histogram", "summary"];
        assert!(!name.split('_').any(|part| word.contains(&part)), "{name}");
        assert!(help.ends_with('.') && help.len() > 10, "{name}: {help}");
        for label in labels {
            assert!(
                plain(label) && !["le", "quantile", "job", "instance"].contains(label),
                "{name}"
            );
        }
    }
}

/// OpenMetrics §4: HELP and TYPE before the samples of a family, families not mixed, one EOF at the end.
#[tokio::test]
async fn the_exposition_is_well_formed() {
    let house = house().await;
    house.sign_in().await;
    let text = exposition(&house).await;
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
    let mut seen = BTreeSet::new();
    let mut families = BTreeSet::new();
    let mut family = String::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let (kind, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
            if kind == "HELP" {
                assert!(families.insert(name.to_owned()), "{name} comes twice");
                name.clone_into(&mut family);
            }
            assert_eq!(name, family, "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(series.starts_with(&family), "{line} stands below {family}");
        assert!(seen.insert(series.to_owned()), "{series} comes twice");
    }
    let known = known();
    for series in &seen {
        let name = series.split('{').next().unwrap();
        assert!(known.contains(name), "{name} is not described");
    }
    assert!(seen.len() > 100, "only {} series", seen.len());
}

#[test]
fn every_metric_is_in_the_document_and_no_other() {
    let text = read(&root().join("docs/operations.md"));
    let row = |metric: &Described| {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let labels = if labels.is_empty() {
            "–".to_owned()
        } else {
            labels.join(", ")
        };
        format!(
            "| `{}` | {} | {labels} | {} |\n",
            metric.name, metric.kind, metric.help
        )
    };
    let rows: String = described().iter().map(row).collect();
    assert!(
        text.contains(&format!("|---|---|---|---|\n{rows}\n")),
        "docs/operations.md needs this table:\n{rows}"
    );
}

/// What looks like a metric of ours in a text.
fn mentioned(text: &str) -> BTreeSet<String> {
    let word = |character: char| !(character.is_ascii_alphanumeric() || character == '_');
    let words = text
        .split(word)
        .filter(|word| word.starts_with("vestibule_"));
    words.map(str::to_owned).collect()
}

#[test]
fn alerts_and_dashboard_use_metrics_that_exist() {
    let known = known();
    for file in [
        "deploy/prometheus/alerts.yml",
        "deploy/grafana/vestibule.json",
    ] {
        let text = read(&root().join(file));
        let mentioned = mentioned(&text);
        assert!(mentioned.len() >= 8, "{file}: {mentioned:?}");
        for name in mentioned {
            assert!(
                known.contains(&name),
                "{file} uses {name}, which does not exist"
            );
        }
    }
    let dashboard = read(&root().join("deploy/grafana/vestibule.json"));
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let asking = panels.iter().filter(|panel| panel["type"] != "row");
    for panel in asking {
        let targets = panel["targets"].as_array().unwrap();
        assert!(
            !targets.is_empty() && targets.iter().all(|target| target["expr"].is_string()),
            "{panel}"
        );
    }
}
