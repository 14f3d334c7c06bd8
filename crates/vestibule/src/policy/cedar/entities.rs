//! Who asks for what, as Cedar's entities: in our own shape, and in that of policies for AgentCore gateways.

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression,
};
use serde_json::Value;

use super::{Question, type_name, values};
use crate::policy::rule::{Kind, Target};

/// Every type of entity there is, with what it stands for.
pub(super) const TYPES: [&str; 10] = [
    "Vestibule::User",
    "Vestibule::Group",
    "Vestibule::Action",
    "Vestibule::Resource",
    "Vestibule::Tool",
    "Vestibule::Prompt",
    "Vestibule::McpResource",
    "AgentCore::OAuthUser",
    "AgentCore::Action",
    "AgentCore::Gateway",
];

/// What a principal always has besides the mapped claims.
pub(super) const ALWAYS: [&str; 5] = ["id", "sub", "client_id", "scope", "groups"];

/// The names of the types, read once.
pub(super) struct Names {
    user: EntityTypeName,
    group: EntityTypeName,
    action: EntityTypeName,
    resource: EntityTypeName,
    tool: EntityTypeName,
    prompt: EntityTypeName,
    mcp_resource: EntityTypeName,
    oauth_user: EntityTypeName,
    tool_action: EntityTypeName,
    gateway: EntityTypeName,
}

/// One way to ask.
pub(super) struct Shape {
    principal: EntityUid,
    action: EntityUid,
    resource: EntityUid,
    entities: Vec<Entity>,
}

impl Shape {
    pub(super) fn with(self, context: Context) -> Result<(Request, Entities), String> {
        let request = Request::new(self.principal, self.action, self.resource, context, None);
        let request = request.map_err(|error| error.to_string())?;
        let entities = Entities::from_entities(self.entities, None);
        Ok((request, entities.map_err(|error| error.to_string())?))
    }
}

impl Names {
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            user: type_name("Vestibule::User")?,
            group: type_name("Vestibule::Group")?,
            action: type_name("Vestibule::Action")?,
            resource: type_name("Vestibule::Resource")?,
            tool: type_name("Vestibule::Tool")?,
            prompt: type_name("Vestibule::Prompt")?,
            mcp_resource: type_name("Vestibule::McpResource")?,
            oauth_user: type_name("AgentCore::OAuthUser")?,
            tool_action: type_name("AgentCore::Action")?,
            gateway: type_name("AgentCore::Gateway")?,
        })
    }

    /// The shapes of a question; AgentCore's for calls of tools, where there is a `gateway`.
    pub(super) fn shapes(
        &self,
        question: &Question<'_>,
        gateway: Option<&str>,
    ) -> Result<Vec<Shape>, String> {
        let mut shapes = vec![self.own(question)?];
        if let (Some(gateway), "tools/call", Some((Kind::Tool, tool))) =
            (gateway, question.target.method, question.target.thing)
        {
            shapes.push(self.agentcore(question, gateway, tool)?);
        }
        Ok(shapes)
    }

    fn own(&self, question: &Question<'_>) -> Result<Shape, String> {
        let Target { method, thing } = question.target;
        let server = uid(&self.resource, question.resource);
        let action = uid(&self.action, method);
        let mut entities = self.principal(&self.user, question)?;
        entities.push(Entity::with_uid(action.clone()));
        entities.push(named(&server, "", question.resource, None)?);
        let resource = match thing {
            None => server,
            Some((kind, text)) => {
                let (of_kind, name, uri) = match kind {
                    Kind::Tool => (&self.tool, text, ""),
                    Kind::Prompt => (&self.prompt, text, ""),
                    Kind::Resource | Kind::Template => (&self.mcp_resource, "", text),
                };
                let thing = uid(of_kind, text);
                entities.push(named(&thing, name, uri, Some(server))?);
                thing
            }
        };
        Ok(Shape {
            principal: uid(&self.user, &question.subject.subject),
            action,
            resource,
            entities,
        })
    }

    fn agentcore(
        &self,
        question: &Question<'_>,
        gateway: &str,
        tool: &str,
    ) -> Result<Shape, String> {
        let of_all = uid(&self.tool_action, "Mcp");
        let of_tools = uid(&self.tool_action, "CallTool");
        let action = uid(&self.tool_action, tool);
        let resource = uid(&self.gateway, gateway);
        let mut entities = self.principal(&self.oauth_user, question)?;
        entities.push(named(&resource, tool, question.resource, None)?);
        let groups = [of_all.clone(), of_tools.clone()];
        if !groups.contains(&action) {
            let parents = [of_tools.clone()].into_iter().collect();
            entities.push(Entity::new_no_attrs(action.clone(), parents));
        }
        let parents = [of_all.clone()].into_iter().collect();
        entities.push(Entity::new_no_attrs(of_tools, parents));
        entities.push(Entity::with_uid(of_all));
        Ok(Shape {
            principal: uid(&self.oauth_user, &question.subject.subject),
            action,
            resource,
            entities,
        })
    }

    /// The caller with groups as parents, and claims both as attributes and, as text, as tags.
    fn principal(
        &self,
        of_kind: &EntityTypeName,
        question: &Question<'_>,
    ) -> Result<Vec<Entity>, String> {
        let subject = question.subject;
        let groups = subject.groups();
        let scopes: Vec<String> = question.scope.to_vec();
        let fixed = [
            ("id", Value::from(subject.subject.as_ref())),
            ("sub", Value::from(subject.subject.as_ref())),
            ("client_id", Value::from(subject.client_id.as_ref())),
            ("scope", Value::from(scopes)),
            ("groups", Value::from(groups.clone())),
        ];
        let claims = subject.claims.iter();
        let mapped = claims.filter(|(name, _)| !ALWAYS.contains(&name.as_str()));
        let attributes = fixed.iter().map(|(name, value)| (*name, value));
        let all: Vec<(&str, &Value)> = attributes
            .chain(mapped.map(|(name, value)| (name.as_str(), value)))
            .collect();
        let attributes = all
            .iter()
            .filter_map(|(name, value)| Some(((*name).to_owned(), values::of_claim(value)?)));
        // As in a token: scopes with blanks between them.
        let scope = Value::from(question.scope.to_string());
        let tags = all.iter().filter_map(|(name, value)| {
            let value = if *name == "scope" { &scope } else { value };
            Some(((*name).to_owned(), values::tag(value)?))
        });
        let parents: Vec<EntityUid> = groups.iter().map(|group| uid(&self.group, group)).collect();
        let user = Entity::new_with_tags(
            uid(of_kind, &subject.subject),
            attributes.collect::<Vec<_>>(),
            parents.clone(),
            tags.collect::<Vec<_>>(),
        );
        let mut entities = vec![user.map_err(|error| error.to_string())?];
        let mut known: Vec<EntityUid> = Vec::new();
        for group in parents {
            if !known.contains(&group) {
                entities.push(Entity::with_uid(group.clone()));
                known.push(group);
            }
        }
        Ok(entities)
    }
}

fn uid(of_kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of_kind.clone(), EntityId::new(id))
}

/// A resource with `name` and `uri`, whatever it is: a policy may ask for them without knowing of what kind it is.
fn named(
    of: &EntityUid,
    name: &str,
    uri: &str,
    parent: Option<EntityUid>,
) -> Result<Entity, String> {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let attributes = [
        ("name".to_owned(), text(name)),
        ("uri".to_owned(), text(uri)),
    ];
    let parents = parent.into_iter().collect();
    Entity::new(of.clone(), attributes.into_iter().collect(), parents)
        .map_err(|error| error.to_string())
}
