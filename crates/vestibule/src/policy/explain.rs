//! Why a call is decided as it is, rule by rule, for `vestibule policy test`.

use serde::Serialize;
use serde_json::Value;

use super::cedar::Verdict;
use super::rule::{Effect, Says, Subject, Target};
use super::{Decision, Policy};

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `allowed`, `hidden` or `needs_scopes`.
    pub decision: &'static str,
    /// Scopes to ask for, besides the granted ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub needed: Vec<String>,
    /// Why, when it is hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the client gets.
    pub answer: String,
    /// What each rule says.
    pub rules: Vec<RuleLine>,
}

/// One rule's part in a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleLine {
    /// Its number, from 0.
    pub rule: usize,
    /// The line of the configuration file that it stands in, or of the file of policies; 0 when it stands elsewhere.
    pub line: usize,
    /// `allow` or `deny`.
    pub effect: &'static str,
    /// Of a Cedar policy: its name, its file and line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// What it says of this call.
    pub says: String,
}

impl Policy {
    /// Decides on a call, and tells why.
    pub fn explain(&self, subject: &Subject<'_>, asked: Target<'_>) -> Explanation {
        self.explain_with(subject, asked, None)
    }

    /// The same for a call with these arguments, which Cedar policies may ask for. Without them it tells what lists show.
    pub fn explain_with(
        &self,
        subject: &Subject<'_>,
        asked: Target<'_>,
        arguments: Option<&Value>,
    ) -> Explanation {
        let Target { method, thing } = asked;
        let things: Vec<_> = thing
            .map(|(kind, name)| (kind, name.to_owned()))
            .into_iter()
            .collect();
        let Some(rules) = &self.0 else {
            return Explanation::of(Decision::Allowed, subject, Vec::new());
        };
        let (decision, _) = rules.decide_call(subject, method, &things, arguments);
        if let Some(policies) = &rules.resource.cedar {
            let question = rules.question(subject, &subject.scope, asked, arguments);
            let is_open = matches!(policies.judge(&question), Verdict::Open);
            let told = Explanation::of(decision, subject, policies.explain(&question));
            if is_open {
                let answer = "in lists; a call is decided by its arguments".to_owned();
                return Explanation { answer, ..told };
            }
            return told;
        }
        let used = thing.map(|(kind, _)| Target {
            method: kind.method(),
            thing,
        });
        let lines = rules
            .resource
            .rules
            .iter()
            .enumerate()
            .map(|(index, rule)| {
                let mut says = rules.says(rule, subject, asked);
                if let (Says::Nothing, Some(used)) = (&says, used) {
                    says = rules.says(rule, subject, used);
                }
                RuleLine {
                    rule: index,
                    line: rule.line,
                    effect: match rule.effect {
                        Effect::Allow => "allow",
                        Effect::Deny => "deny",
                    },
                    policy: None,
                    says: match says {
                        Says::Nothing => {
                            "is not about this call, or not about this user".to_owned()
                        }
                        Says::Satisfied => "satisfied".to_owned(),
                        Says::NotEntitled(why) => format!("not satisfied: {why}"),
                        Says::Lacks(scopes) => {
                            format!("not satisfied: needs the scopes `{scopes}`")
                        }
                        Says::Denied => "denies".to_owned(),
                    },
                }
            });
        Explanation::of(decision, subject, lines.collect())
    }
}

impl Explanation {
    fn of(decision: Decision, subject: &Subject<'_>, rules: Vec<RuleLine>) -> Self {
        let (decision, needed, why, answer) = match decision {
            Decision::Allowed => (
                "allowed",
                Vec::new(),
                None,
                "forwarded to the upstream".to_owned(),
            ),
            Decision::Hidden(why) => (
                "hidden",
                Vec::new(),
                Some(why),
                "not in lists; a call is answered as if there were no such thing".to_owned(),
            ),
            Decision::Lacks(scopes) => {
                let asked = subject.scope.union(&scopes);
                let answer =
                    format!("in lists; a call gets 403 insufficient_scope with scope=\"{asked}\"");
                ("needs_scopes", scopes.to_vec(), None, answer)
            }
        };
        Self {
            decision,
            needed,
            why,
            answer,
            rules,
        }
    }
}
