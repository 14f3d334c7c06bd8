//! Authorization per tool (`ANY /mcp`: guard → policy → proxy): who may call, read and see what behind a resource
//! (facts/mcp-authorization.md §2.3; docs/authorization.md).
//!
//! Two answers are kept apart. What no consent can give (a group, a claim) is an *entitlement*: the thing is not in lists,
//! and a call to it is answered as by a server that has no such thing. What the user could consent to (a scope) is a
//! *grant*: the thing stays in lists, and a call gets 403 with the scopes to ask for.

#[cfg_attr(not(feature = "cedar"), path = "no_cedar.rs")]
mod cedar;
mod events;
mod explain;
mod filter;
mod gate;
mod glob;
mod headers;
mod json;
mod message;
pub(crate) mod methods;
mod refusal;
mod rule;
mod uri;

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};
use vestibule_oauth::scope::ScopeSet;
use vestibule_oauth::time::Clock;

use crate::settings::ResourceSettings;
use cedar::Question;

pub use cedar::CedarPolicies;
pub(crate) use events::{Events, Verdict};
pub use explain::{Explanation, RuleLine};
pub(crate) use filter::FilterError;
pub use gate::Permit;
pub(crate) use gate::read_message;
pub use glob::Glob;
pub(crate) use refusal::Refused;
pub use rule::{ClaimTest, Effect, Kind, Rule, Says, Subject, Target};

/// Methods that name nothing and that a session cannot do without. The default of a resource does not shut them off;
/// a rule can.
const ALWAYS: [&str; 12] = [
    "completion/complete",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/unsubscribe",
    "server/discover",
    "subscriptions/listen",
    "tools/list",
    "tasks/list",
];
/// The same, by family. Tasks are begun by calls that were decided on.
const ALWAYS_PREFIXES: [&str; 2] = ["notifications/", "tasks/"];

/// The rules of one resource. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Policy(Option<Arc<Rules>>);

#[derive(Debug)]
struct Rules {
    resource: ResourceSettings,
    clock: Arc<dyn Clock>,
    /// True when some answer depends on a resource's URI.
    looks_at_uris: bool,
}

/// What the rules together say of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may pass.
    Allowed,
    /// It is not for this user, whatever they consent to; and why.
    Hidden(String),
    /// It needs these scopes besides the granted ones.
    Lacks(ScopeSet),
}

impl Policy {
    /// Everything passes, and no body is read (law 11).
    pub fn open() -> Self {
        Self(None)
    }

    /// The rules of a resource; [`Self::open`] when it has none.
    pub fn of(resource: &ResourceSettings, clock: &Arc<dyn Clock>) -> Self {
        if !resource.has_policy() {
            return Self::open();
        }
        let names_uris = |rule: &Rule| !rule.resources.is_empty();
        let looks_at_uris = resource.deny_by_default
            || resource.cedar.is_some()
            || resource.rules.iter().any(names_uris);
        Self(Some(Arc::new(Rules {
            resource: resource.clone(),
            clock: Arc::clone(clock),
            looks_at_uris,
        })))
    }

    /// True when decisions need the body of a request.
    pub(crate) fn reads_bodies(&self) -> bool {
        self.0.is_some()
    }

    /// The caller of a token with these claims, as rules see it.
    pub fn subject<'a>(
        &self,
        subject: &'a str,
        client_id: &'a str,
        scope: &'a ScopeSet,
        claims: &'a Map<String, Value>,
    ) -> Subject<'a> {
        let rules = self.0.as_ref();
        let implying = rules.filter(|rules| !rules.resource.scope_details.is_empty());
        Subject {
            subject: Cow::Borrowed(subject),
            client_id: Cow::Borrowed(client_id),
            scope: match implying {
                None => Cow::Borrowed(scope),
                Some(rules) => Cow::Owned(scope.union(&rules.resource.with_implied(scope))),
            },
            claims: Cow::Borrowed(claims),
        }
    }

    /// Decides on one call.
    pub fn decide(&self, subject: &Subject<'_>, target: Target<'_>) -> Decision {
        match &self.0 {
            None => Decision::Allowed,
            Some(rules) => rules.decide(subject, target),
        }
    }
}

/// What a body asks for, for the fuzz targets.
pub(crate) fn calls(body: &[u8]) -> Option<Vec<(String, Vec<String>)>> {
    let incoming = message::read(body).ok()?;
    let named = |call: &message::Call| {
        let names = call.things.iter().map(|(_, name)| name.clone());
        (call.method.clone(), names.collect())
    };
    Some(incoming.calls().map(named).collect())
}

impl Rules {
    /// Decides where there is no call yet: in lists.
    fn decide(&self, subject: &Subject<'_>, target: Target<'_>) -> Decision {
        self.decide_on(subject, target, None)
    }

    /// All rules that are about the call must be satisfied; one that denies wins. With Cedar policies instead, `arguments`
    /// are those of the call.
    fn decide_on(
        &self,
        subject: &Subject<'_>,
        target: Target<'_>,
        arguments: Option<&Value>,
    ) -> Decision {
        if let Some((Kind::Resource, uri)) = target.thing
            && self.looks_at_uris
            && !uri::is_plain(uri)
        {
            return Decision::Hidden("the URI could be read in several ways".to_owned());
        }
        if let Some(policies) = &self.resource.cedar {
            return self.ask_cedar(policies, subject, target, arguments);
        }
        let mut allowed = false;
        let mut lacking = ScopeSet::default();
        for rule in &self.resource.rules {
            match self.says(rule, subject, target) {
                Says::Nothing => {}
                Says::Satisfied => allowed = true,
                Says::Lacks(scopes) => {
                    allowed = true;
                    lacking = lacking.union(&scopes);
                }
                Says::NotEntitled(why) => return Decision::Hidden(why),
                Says::Denied => return Decision::Hidden("a rule denies it".to_owned()),
            }
        }
        if !allowed && self.resource.deny_by_default && !is_always_allowed(target) {
            return Decision::Hidden("no rule allows it".to_owned());
        }
        if lacking.is_empty() {
            Decision::Allowed
        } else {
            Decision::Lacks(lacking)
        }
    }

    /// What the policies answer; and where they say no, whether more scopes would make it a yes.
    fn ask_cedar(
        &self,
        policies: &CedarPolicies,
        subject: &Subject<'_>,
        target: Target<'_>,
        arguments: Option<&Value>,
    ) -> Decision {
        let judge = |scope: &ScopeSet| {
            let question = self.question(subject, scope, target, arguments);
            match policies.judge(&question) {
                cedar::Verdict::Allowed => Ok(()),
                // Only what is not called yet may be undecided.
                cedar::Verdict::Open if arguments.is_none() => Ok(()),
                cedar::Verdict::Open => Err("the policies come to no decision".to_owned()),
                cedar::Verdict::Denied(why) => Err(why),
            }
        };
        let Err(why) = judge(&subject.scope) else {
            return Decision::Allowed;
        };
        if !policies.looks_at_scopes() {
            return Decision::Hidden(why);
        }
        let with = |more: &[&str]| {
            let more: ScopeSet = more.iter().map(|scope| (*scope).to_owned()).collect();
            let all = subject.scope.union(&more);
            all.union(&self.resource.with_implied(&all))
        };
        let scopes = self.resource.scopes.iter();
        let mut lacking: Vec<&str> = scopes
            .filter(|scope| !subject.scope.contains(scope) && self.is_obtainable(subject, scope))
            .collect();
        if lacking.is_empty() || judge(&with(&lacking)).is_err() {
            return Decision::Hidden(why);
        }
        // No more than are needed: the later ones of the resource are taken away first.
        for index in (0..lacking.len()).rev() {
            let mut fewer = lacking.clone();
            fewer.remove(index);
            if judge(&with(&fewer)).is_ok() {
                lacking = fewer;
            }
        }
        Decision::Lacks(lacking.into_iter().map(str::to_owned).collect())
    }

    fn question<'a>(
        &'a self,
        subject: &'a Subject<'a>,
        scope: &'a ScopeSet,
        target: Target<'a>,
        arguments: Option<&'a Value>,
    ) -> Question<'a> {
        Question {
            resource: self.resource.uri.as_str(),
            subject,
            scope,
            target,
            arguments,
            always: is_always_allowed(target),
        }
    }

    /// True when decisions need the arguments of calls.
    fn looks_at_arguments(&self) -> bool {
        let policies = self.resource.cedar.as_ref();
        policies.is_some_and(|policies| policies.looks_at_arguments())
    }

    fn is_obtainable(&self, subject: &Subject<'_>, scope: &str) -> bool {
        let wanted: ScopeSet = [scope.to_owned()].into_iter().collect();
        let permitted = self.resource.permitted(&wanted, &subject.groups(), None);
        permitted.contains(scope)
    }

    fn says(&self, rule: &Rule, subject: &Subject<'_>, target: Target<'_>) -> Says {
        rule.judge(subject, target, |scope| self.is_obtainable(subject, scope))
    }

    /// Decides on everything that a request names. Who completes an argument of a prompt or subscribes to a resource
    /// must be able to get the prompt and to read the resource.
    fn decide_call<'a>(
        &self,
        subject: &Subject<'_>,
        method: &'a str,
        things: &'a [(Kind, String)],
        arguments: Option<&Value>,
    ) -> (Decision, Target<'a>) {
        let bare = Target {
            method,
            thing: None,
        };
        if things.is_empty() {
            return (self.decide_on(subject, bare, arguments), bare);
        }
        let mut lacking = ScopeSet::default();
        let mut lacks_for = bare;
        for (kind, name) in things {
            let thing = Some((*kind, name.as_str()));
            let asked = Target { method, thing };
            let used = Target {
                method: kind.method(),
                thing,
            };
            let second = (method != kind.method()).then_some(used);
            for target in [asked].into_iter().chain(second) {
                match self.decide_on(subject, target, arguments) {
                    Decision::Allowed => {}
                    Decision::Hidden(why) => return (Decision::Hidden(why), asked),
                    Decision::Lacks(scopes) => {
                        lacking = lacking.union(&scopes);
                        lacks_for = asked;
                    }
                }
            }
        }
        if lacking.is_empty() {
            (Decision::Allowed, bare)
        } else {
            (Decision::Lacks(lacking), lacks_for)
        }
    }

    /// True when a thing may stand in a list.
    fn shows(&self, subject: &Subject<'_>, kind: Kind, name: &str) -> bool {
        let target = Target {
            method: kind.method(),
            thing: Some((kind, name)),
        };
        !matches!(self.decide(subject, target), Decision::Hidden(_))
    }
}

/// Methods that name nothing are shut off by rules only; what they name decides over the others.
fn is_always_allowed(target: Target<'_>) -> bool {
    // The thing itself is decided on by the method that uses it.
    let helper = matches!(target.thing, Some((kind, _)) if kind.method() != target.method);
    (target.thing.is_none() || helper)
        && (ALWAYS.contains(&target.method)
            || ALWAYS_PREFIXES
                .iter()
                .any(|prefix| target.method.starts_with(prefix))
            || (helper && target.method == "resources/subscribe"))
}

#[cfg(test)]
mod tests;
