//! Labels that say how things end, and of what kind they are.

use http::StatusCode;

label! {
    /// How an authorization goes on or ends.
    AuthorizationOutcome = "outcome" {
        /// The consent page was shown.
        Asked = "asked",
        /// It was not shown, because the browser remembers the decision.
        Remembered = "remembered",
        Approved = "approved",
        Denied = "denied",
        /// The client was given a code.
        Answered = "answered",
        Refused = "refused",
    }
}

label! {
    /// What kind of client was registered.
    ClientKind = "kind" {
        Public = "public",
        Confidential = "confidential",
        /// It was refused before that was known.
        Unread = "unread",
    }
}

label! {
    /// How a registration ended.
    RegistrationOutcome = "outcome" {
        Registered = "registered",
        Refused = "refused",
    }
}

label! {
    /// For what tokens were issued.
    GrantType = "grant" {
        Code = "authorization_code",
        Refresh = "refresh_token",
    }
}

label! {
    /// How a refresh ended.
    RefreshOutcome = "outcome" {
        /// The provider was asked.
        Asked = "provider",
        /// What the provider gave a short time ago was still good.
        Kept = "kept",
        /// The answer that was given before was given again.
        Replayed = "replayed",
        Refused = "refused",
        /// Nothing was lost: the client may try again.
        Unavailable = "unavailable",
    }
}

label! {
    /// Where the provider was asked.
    ProviderEndpoint = "endpoint" {
        Discovery = "discovery",
        Token = "token",
        Revocation = "revocation",
        Userinfo = "userinfo",
    }
}

label! {
    /// What the provider answered.
    ProviderOutcome = "outcome" {
        Done = "ok",
        /// No answer, none in time, 5xx or 429.
        Unavailable = "unavailable",
        /// 4xx.
        Refused = "refused",
        /// We did not wait for the answer.
        Abandoned = "abandoned",
    }
}

label! {
    /// What the MCP server answered.
    UpstreamOutcome = "outcome" {
        Informational = "1xx",
        Success = "2xx",
        Redirect = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
        /// No connection, or it broke.
        Unreachable = "unreachable",
        Silent = "silent",
        /// The client went away first.
        Abandoned = "abandoned",
    }
}

impl UpstreamOutcome {
    pub(crate) fn of(status: StatusCode) -> Self {
        match status.as_u16() / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirect,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

label! {
    /// What kind of store.
    Backend = "backend" {
        Memory = "memory",
        Redb = "redb",
        Redis = "redis",
        Postgres = "postgres",
        DynamoDb = "dynamodb",
    }
}

label! {
    /// An operation of the store.
    StoreOp = "op" {
        Get = "get",
        Put = "put",
        Take = "take",
        Delete = "delete",
        List = "list",
        Scan = "scan",
    }
}

label! {
    /// Why the store did not do its work.
    StoreFault = "fault" {
        Unavailable = "unavailable",
        Misconfigured = "misconfigured",
        Corrupt = "corrupt",
        /// We did not wait any longer.
        Abandoned = "abandoned",
    }
}

label! {
    /// What was fetched from a client's website.
    DocumentKind = "kind" {
        Metadata = "metadata",
        Keys = "keys",
    }
}

label! {
    /// How that ended.
    FetchOutcome = "outcome" {
        Fetched = "fetched",
        Unchanged = "unchanged",
        /// The address policy said no.
        Address = "address",
        Unreachable = "unreachable",
        Status = "status",
        ContentType = "content_type",
        TooLarge = "too_large",
        Invalid = "invalid",
        /// Too many fetches in a short time.
        Busy = "busy",
    }
}

label! {
    /// What the rules of a resource said.
    PolicyDecision = "decision" {
        Allowed = "allowed",
        /// Nothing that consent could mend.
        NotEntitled = "not_entitled",
        /// The user could consent to more.
        NeedsScopes = "needs_scopes",
        /// Not a message that rules can be applied to.
        Unfit = "unfit",
    }
}

label! {
    /// Whom an entry of the quarantine is about.
    QuarantineKind = "kind" {
        User = "user",
        Client = "client",
    }
}

label! {
    /// What became of a new configuration.
    ReloadOutcome = "outcome" {
        Taken = "taken",
        Refused = "refused",
    }
}

label! {
    /// What became of an audit event.
    AuditOutcome = "outcome" {
        Written = "written",
        /// The queue was full.
        Dropped = "dropped",
        /// It could not be written.
        Failed = "failed",
    }
}
