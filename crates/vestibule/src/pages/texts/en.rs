//! The pages in English.

use super::{AnswerTexts, ConnectionsTexts, ConsentTexts, LandingTexts, LogoutTexts, Texts};

/// English. The words of refusals stand where the refusals are made.
pub static ENGLISH: Texts = Texts {
    lang: "en",
    reference: "Reference",
    refusal: |_| None,
    consent: ConsentTexts {
        title: ["Allow ", "?"],
        heading: ["Allow ", " to use ", " for you?"],
        nameless: "An application without a name",
        unverified: "The application chose this name itself. Nobody has checked it.",
        described_by: [
            "The application is described by ",
            ". That was checked; the name was not.",
        ],
        anybody_here: "Any program on your device can claim to be this application.",
        to_this_computer: "The answer goes to a program on this computer. Go on only if you have just started signing in from an application here.",
        to_scheme: [
            "The answer goes to the application on this device that opens ",
            " links. Go on only if you have just started signing in from it.",
        ],
        to_website: [
            "The answer goes to the website ",
            ". Go on only if you know it and have just started signing in from it.",
        ],
        it_may: "It may",
        use_it: "use this server with your account",
        answer_goes_to: "The answer is sent to",
        next: "Next you sign in with your usual account, or you are signed in already.",
        sign_in_with: "Sign in with",
        elsewhere: "My application runs on another computer: show me the answer, and I take it there.",
        remember: |days| {
            let span = match days {
                1 => "a day".to_owned(),
                days => format!("{days} days"),
            };
            format!(
                "Do not ask again for {span} on this browser, for the same application, permissions and account."
            )
        },
        new_scope: "New",
        last_account: [
            "Last time, ",
            " (",
            ") signed in here in this browser. Your identity provider may go on with that account.",
        ],
        another_account: "Let me choose another account",
        approve: "Approve",
        deny: "Deny",
    },
    answer: AnswerTexts {
        done_title: "You are signed in",
        done: "The application can go on now.",
        denied_title: "Nothing was allowed",
        denied: "You said no, and nothing was shared.",
        refused_title: "The sign-in cannot go on",
        refused: ["The application's request was refused: ", "."],
        or_tell: [
            "You can close this window, or tell the application at ",
            ".",
        ],
        return_to: ["Return to ", ""],
        launching: [
            "Your browser opens the application for ",
            " links. If nothing happens, press the button. You can close this window after that.",
        ],
        open: "Open the application",
        copy: "Run this on the computer where the application waits:",
        or_paste: "Or paste this address into the application, if it asks for it:",
        tell_nobody: "The address works once and for a short time. Whoever has it may finish your sign-in: give it to nobody, and to no website that asks for it.",
    },
    logout: LogoutTexts {
        ask_title: "Sign out in this browser?",
        ask: "You will be signed out where your account is, and with it from this server's own pages and from other sites that use it in this browser.",
        done_title: "You are signed out in this browser",
        done: "The next sign-in asks for your account again.",
        nothing_title: "There is nothing to sign out of here",
        nothing: "This server cannot sign you out of your account. Sign out at your identity provider itself.",
        still_connected: "Applications that you connected stay connected. To end that, remove this server from the application, or open /connections here.",
        sign_out: "Sign out",
        remembers: "This browser remembers applications that you allowed, and does not ask about them again.",
        forget: "Ask me again about each of them",
        sign_out_of: ["Sign out of ", ""],
    },
    connections: ConnectionsTexts {
        title: "What you have connected",
        no_record_title: "This server keeps no record of connections",
        no_record: "Each application keeps its own permission, sealed, and this server has no list of them.",
        no_record_instead: "To disconnect an application, sign out or remove this server there. To end all of them, use the page for your account at your identity provider, or ask the operator of this server.",
        sign_in_title: "Sign in to see what you have connected",
        sign_in: "You will see the applications that may use this server for you, and can disconnect them.",
        sign_in_with: ["Sign in with ", ""],
        signed_in_as: ["You are signed in as ", " (", ")."],
        nothing: "No application is connected to this server with your account.",
        no_more: "There are no more connections.",
        what: "These applications may use this server with your account, also when you are not there.",
        unverified: "The application chose this name itself.",
        suspended: "Your account is suspended on this server. No application can use it for you until the operator lifts that. You can disconnect applications meanwhile.",
        client_suspended: "The operator of this server has suspended this application. It cannot use this server at the moment.",
        uses: "Connected to",
        answer_went_to: "The approval was sent to",
        since: "You approved it",
        last_used: "It last renewed its access",
        disconnect: "Disconnect",
        next: "More connections",
        all: "Disconnect all",
        all_means: "Every application has to ask you again before it can go on.",
        disconnect_all: "Disconnect all of them now",
        ended: |count| match count {
            1 => "Disconnected. The application has to ask you again.".to_owned(),
            count => {
                format!("{count} connections were ended. The applications have to ask you again.")
            }
        },
        ended_none: "Nothing was disconnected: the connection had ended already.",
        provider_not_told: "Your identity provider could not be told yet, and is being told again. Here it has ended already.",
        more_left: "There are more connections. Disconnect all of them once more.",
        sign_out: "Leave this page",
        provider_sign_out: "Sign out of your account in this browser",
    },
    landing: LandingTexts {
        title: "Connect an application to this MCP server",
        for_programs: "This is the address of an MCP server. It is meant for applications, not for browsers: add it to one of these.",
        what: [
            "Applications use the servers at ",
            " for you, after you have signed in with your usual account. Click an address or a command to select all of it.",
        ],
        documentation: "About this server",
        run: "Run in a terminal:",
        write: ["Write into ", ":"],
        install: "Install",
        menu: ["Go to ", " and enter this address:"],
        then: ["Then ", " to sign in."],
        first_use: "The first time, your browser opens, asks whether the application may use the server, and lets you sign in. There is no key and no client ID to copy.",
        connections: "See what you have connected, and disconnect it",
    },
};
