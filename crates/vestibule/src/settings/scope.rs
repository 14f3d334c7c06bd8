//! `[[resource.scope]]`: what a scope means — in words, in other scopes, for whom, and at the provider (RFC 6749 §3.3).

use vestibule_oauth::scope::{ScopeSet, is_scope_token};

use super::problem::{Located, Problems};
use super::resource::ResourceSettings;
use super::section::Section;
use crate::spelling::closest;

/// A scope of a resource that is more than a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeDetail {
    /// The scope.
    pub name: String,
    /// What it allows, for people, in English.
    pub description: Option<String>,
    /// The same in Japanese.
    pub description_ja: Option<String>,
    /// The provider's scope behind it (Cognito: `identifier/name`), asked for only when this one is approved.
    pub provider_scope: Option<String>,
    /// Groups whose members may have it; empty means everybody.
    pub groups: Vec<String>,
    /// Scopes that come with it.
    pub implies: ScopeSet,
}

impl ScopeDetail {
    /// What it allows, in `language` (a primary tag such as `ja`) or else in English.
    pub fn description_in(&self, language: &str) -> Option<&str> {
        let japanese = self
            .description_ja
            .as_deref()
            .filter(|_| language.eq_ignore_ascii_case("ja"));
        japanese.or(self.description.as_deref())
    }
}

impl ResourceSettings {
    /// What is known of a scope beyond its name.
    pub fn scope_detail(&self, name: &str) -> Option<&ScopeDetail> {
        self.scope_details.iter().find(|detail| detail.name == name)
    }

    /// `scopes` and everything they imply, as far as the resource has it.
    #[must_use]
    pub fn with_implied(&self, scopes: &ScopeSet) -> ScopeSet {
        let mut all = scopes.intersection(&self.scopes);
        if self.scope_details.is_empty() {
            return all;
        }
        loop {
            let implied = all
                .iter()
                .filter_map(|name| self.scope_detail(name))
                .fold(ScopeSet::default(), |sum, detail| {
                    sum.union(&detail.implies)
                });
            let more = all.union(&implied.intersection(&self.scopes));
            if more.len() == all.len() {
                return all;
            }
            all = more;
        }
    }

    /// The provider's scopes behind `scopes`.
    #[must_use]
    pub fn provider_scopes(&self, scopes: &ScopeSet) -> ScopeSet {
        scopes
            .iter()
            .filter_map(|name| self.scope_detail(name)?.provider_scope.clone())
            .collect()
    }

    /// What of `approved` this user may have: a scope for groups needs one of them, a scope of the provider's must not
    /// have been withheld by it, and what comes with a scope that is granted comes with it.
    #[must_use]
    pub fn permitted(
        &self,
        approved: &ScopeSet,
        groups: &[&str],
        by_provider: Option<&ScopeSet>,
    ) -> ScopeSet {
        if self.scope_details.is_empty() {
            return approved.intersection(&self.scopes);
        }
        let direct = approved.iter().filter(|name| {
            let Some(detail) = self.scope_detail(name) else {
                return true;
            };
            let member = detail.groups.is_empty()
                || detail
                    .groups
                    .iter()
                    .any(|own| groups.contains(&own.as_str()));
            let withheld = by_provider
                .zip(detail.provider_scope.as_deref())
                .is_some_and(|(granted, wanted)| !provider_granted(granted, wanted));
            member && !withheld
        });
        let direct: ScopeSet = direct.map(str::to_owned).collect();
        let permitted = self.with_implied(&direct);
        approved.intersection(&permitted)
    }

    /// True when some scope is for members of a group only.
    pub(super) fn asks_for_groups(&self) -> bool {
        self.scope_details
            .iter()
            .any(|detail| !detail.groups.is_empty())
    }
}

/// Is `wanted` among what the provider says it granted? Providers write lists with blanks or commas, and leave the
/// identifier before the name away (Entra).
fn provider_granted(granted: &ScopeSet, wanted: &str) -> bool {
    let short = wanted.rsplit('/').next().unwrap_or(wanted);
    granted
        .iter()
        .flat_map(|token| token.split(',').chain([token]))
        .any(|token| token == wanted || token == short)
}

/// Reads the tables, and gives every scope there is: those of the plain list, then those of the tables.
pub(super) fn read_all(
    sections: Vec<Section<'_>>,
    listed: &ScopeSet,
    problems: &Problems,
) -> (ScopeSet, Vec<ScopeDetail>) {
    let mut details: Vec<ScopeDetail> = Vec::new();
    let mut hierarchy: Vec<(String, Located<ScopeSet>)> = Vec::new();
    for mut section in sections {
        let name = section.parsed("name", scope_name);
        let name = section.required("name", name);
        let description = section.name("description");
        let description_ja = section.name("description_ja");
        let provider_scope = section.parsed("provider_scope", scope_name);
        let groups = section.parsed_list("groups", |group| {
            if group.trim().is_empty() {
                Err("a group must not be empty")
            } else {
                Ok(group.to_owned())
            }
        });
        let implies = section.scopes("implies");
        if let Some(groups) = groups.as_ref().filter(|groups| groups.value.is_empty()) {
            problems.add(
                &groups.spot,
                "names no group, so nobody could have the scope; leave it out to allow everybody",
            );
        }
        section.finish();
        let Some(name) = name else {
            continue;
        };
        if details.iter().any(|other| other.name == name.value) {
            problems.add(&name.spot, format!("`{}` is described twice", name.value));
        }
        let text = |text: Option<Located<String>>| text.map(|text| text.value);
        if let Some(implies) = &implies {
            hierarchy.push((name.value.clone(), implies.clone()));
        }
        details.push(ScopeDetail {
            name: name.value,
            description: text(description),
            description_ja: text(description_ja),
            provider_scope: text(provider_scope),
            groups: groups.map_or_else(Vec::new, |groups| {
                groups.value.into_iter().map(|group| group.value).collect()
            }),
            implies: implies.map_or_else(ScopeSet::default, |implies| implies.value),
        });
    }
    let described: ScopeSet = details.iter().map(|detail| detail.name.clone()).collect();
    let all = listed.union(&described);
    for (name, implies) in hierarchy {
        check_implied(&name, &implies, &all, &details, problems);
    }
    (all, details)
}

/// What is implied exists, and nothing implies itself.
fn check_implied(
    name: &str,
    implies: &Located<ScopeSet>,
    all: &ScopeSet,
    details: &[ScopeDetail],
    problems: &Problems,
) {
    for unknown in implies.value.iter().filter(|scope| !all.contains(scope)) {
        let message = match closest(unknown, all.iter()) {
            Some(meant) => format!("`{unknown}` is not a scope here; did you mean `{meant}`?"),
            None => format!("`{unknown}` is not a scope here"),
        };
        problems.add(&implies.spot, message);
    }
    let mut reached = implies.value.clone();
    loop {
        let next = details
            .iter()
            .filter(|detail| reached.contains(&detail.name))
            .fold(reached.clone(), |sum, detail| sum.union(&detail.implies));
        if next.len() == reached.len() {
            break;
        }
        reached = next;
    }
    if reached.contains(name) {
        problems.add(
            &implies.spot,
            format!("`{name}` implies itself; a hierarchy has no circles"),
        );
    }
}

fn scope_name(text: &str) -> Result<String, String> {
    if is_scope_token(text) {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "'{text}' is not a scope: no blanks, quotes or backslashes (RFC 6749 §3.3)"
        ))
    }
}

#[cfg(test)]
mod tests {
    use vestibule_oauth::url::{Endpoint, Origin};

    use super::*;

    fn resource() -> ResourceSettings {
        let origin = Origin::parse("https://m.example").unwrap();
        let upstream = Endpoint::parse("http://127.0.0.1:9/mcp").unwrap();
        let detail = |name: &str, groups: &[&str], implies: &str| ScopeDetail {
            name: name.to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            implies: ScopeSet::parse(implies),
            ..ScopeDetail::default()
        };
        ResourceSettings {
            scopes: ScopeSet::parse("read write admin open"),
            scope_details: vec![
                detail("read", &["readers"], ""),
                detail("write", &["writers"], "read"),
                ScopeDetail {
                    provider_scope: Some("https://m.example/mcp/admin".to_owned()),
                    ..detail("admin", &["admins"], "write")
                },
            ],
            ..ResourceSettings::new(&origin, "/mcp", upstream).unwrap()
        }
    }

    fn permitted(approved: &str, groups: &[&str], by_provider: Option<&str>) -> String {
        let by_provider = by_provider.map(ScopeSet::parse);
        resource()
            .permitted(&ScopeSet::parse(approved), groups, by_provider.as_ref())
            .to_string()
    }

    #[test]
    fn a_scope_brings_what_it_implies() {
        let with_implied = |text: &str| resource().with_implied(&ScopeSet::parse(text)).to_string();
        assert_eq!(with_implied("admin"), "admin write read");
        assert_eq!(with_implied("open"), "open");
        assert_eq!(with_implied("unknown"), "");
    }

    #[test]
    fn a_user_gets_only_the_scopes_of_their_groups() {
        let all = "admin write read open";
        assert_eq!(permitted(all, &[], None), "open");
        assert_eq!(permitted(all, &["readers"], None), "read open");
        // A writer reads, because writing brings reading.
        assert_eq!(permitted(all, &["writers"], None), "write read open");
        assert_eq!(permitted(all, &["ADMINS", "readers "], None), "open");
    }

    #[test]
    fn groups_never_give_what_was_not_approved() {
        assert_eq!(permitted("open", &["admins"], None), "open");
        assert_eq!(permitted("write", &["admins"], None), "");
    }

    #[test]
    fn a_scope_that_the_provider_withheld_is_not_granted() {
        assert_eq!(permitted("admin", &["admins"], None), "admin");
        assert_eq!(permitted("admin open", &["admins"], Some("openid")), "open");
        for given in [
            "openid https://m.example/mcp/admin",
            "openid,https://m.example/mcp/admin",
            "admin openid",
        ] {
            assert_eq!(permitted("admin", &["admins"], Some(given)), "admin");
        }
    }

    #[test]
    fn descriptions_fall_back_to_english() {
        let detail = ScopeDetail {
            description: Some("Read".to_owned()),
            description_ja: Some("読む".to_owned()),
            ..ScopeDetail::default()
        };
        assert_eq!(detail.description_in("ja"), Some("読む"));
        assert_eq!(detail.description_in("de"), Some("Read"));
    }
}
