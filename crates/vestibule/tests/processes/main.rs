//! Several `vestibule serve` that share a store, as processes: races, deaths, outages, garbage, a rotation under way. The
//! Cognito stand-in and the demo MCP server run in the test, which counts what the provider is asked. `tests/stores/run.sh`
//! and `tests/stores/aws.sh` run them, with the programs that they need; without those scripts they are not run.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "clippy exempts test functions, but not the helpers beside them"
)]

#[path = "../it/support/browser.rs"]
mod browser;

mod client;
mod crashes;
mod dev;
mod file;
mod garbage;
mod keys;
mod many;
mod outages;
mod places;
mod races;
mod server;
mod street;
mod token_file;

/// One test for each rule and place. `$place` gives the URL of a store that nobody else uses.
macro_rules! suite {
    ($place:path) => {
        crate::suite! { $place:
            races::fifty_refreshes_at_once_are_one_question_and_one_answer,
            races::a_client_that_hangs_up_finds_its_answer_at_the_other_replica,
            crashes::killed_between_the_answer_and_the_commit_nobody_is_logged_out,
            token_file::processes_that_share_a_token_file_stay_signed_in,
            token_file::a_dozen_that_start_at_once_and_share_a_token_file_stay_signed_in,
            garbage::nothing_is_stored_before_a_code_is_redeemed_and_all_of_it_ends,
            keys::replicas_on_neighbouring_steps_of_a_rotation_share_a_store,
            dev::dev_keeps_its_grants_in_the_store
        }
    };
    ($place:path: $($module:ident::$rule:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            crate::$module::$rule(&$place().await).await;
        }
    )+};
}
pub(crate) use suite;

mod redb {
    crate::suite!(crate::places::file);
}

mod redis {
    crate::suite!(crate::places::redis);

    /// It waits for real: once is enough.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn killed_with_the_only_living_token_ends_the_sign_in_after_a_wait() {
        let place = crate::places::redis().await;
        crate::crashes::killed_with_the_only_living_token(&place).await;
    }
}

mod postgres {
    crate::suite!(crate::places::postgres);
}

mod dynamodb {
    crate::suite!(crate::places::dynamodb);
}
