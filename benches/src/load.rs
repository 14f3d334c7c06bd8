//! The load: a fixed number of keep-alive connections, each with one request under way, on one thread.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_local};

use crate::upstream::SENT;
use crate::wire::{Head, Reader};
use crate::{Fallible, clock};

/// What is sent, and what must come back.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) connections: usize,
    /// Sent in turn by all connections together.
    pub(crate) requests: Rc<[Bytes]>,
    /// Whose turn it is. A run goes on where the one before it ended: from the beginning, tokens would come again too soon.
    pub(crate) turn: Rc<Cell<usize>>,
    /// Any other status is an error.
    pub(crate) expect: u16,
}

impl Plan {
    /// The next request of all connections.
    fn next(&self) -> Bytes {
        let turn = self.turn.get();
        self.turn.set(turn + 1);
        let request = self.requests.get(turn % self.requests.len().max(1));
        request.cloned().unwrap_or_default()
    }
}

/// What was counted between two marks.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    /// Answers, or events.
    pub(crate) count: usize,
    pub(crate) errors: usize,
    pub(crate) first_error: Option<String>,
    pub(crate) seconds: f64,
    /// Microseconds, in ascending order.
    latencies: Vec<f32>,
}

impl Counted {
    /// The latency that `share` of all did not exceed, in microseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a position in a list"
    )]
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let position = (last as f64 * share).round() as usize;
        self.latencies
            .get(position)
            .map_or(0.0, |latency| f64::from(*latency))
    }
}

struct Tally {
    stopped: Cell<bool>,
    /// Requests that may still be sent.
    left: Cell<usize>,
    /// Wakes those who wait for more.
    go: Notify,
    counted: RefCell<Counted>,
}

/// Connections at work. They end when this is dropped.
pub(crate) struct Load {
    tally: Rc<Tally>,
    began: Instant,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Requests that are answered, counted by answers.
    pub(crate) fn requests(plan: &Plan) -> Self {
        Self::start(plan, usize::MAX, |plan, tally| async move {
            asking(&plan, &tally).await
        })
    }

    /// The same, each when [`Load::exactly`] says so.
    pub(crate) fn on_demand(plan: &Plan) -> Self {
        Self::start(
            plan,
            0,
            |plan, tally| async move { asking(&plan, &tally).await },
        )
    }

    /// Requests whose answers are events, counted by events; each connection asks again when an answer has ended.
    pub(crate) fn events(plan: &Plan) -> Self {
        Self::start(plan, usize::MAX, |plan, tally| async move {
            listening(&plan, &tally).await
        })
    }

    fn start<F>(plan: &Plan, left: usize, work: impl Fn(Plan, Rc<Tally>) -> F) -> Self
    where
        F: Future<Output = io::Result<()>> + 'static,
    {
        let tally = Rc::new(Tally {
            stopped: Cell::default(),
            left: Cell::new(left),
            go: Notify::new(),
            counted: RefCell::default(),
        });
        let task = |_| {
            let (work, tally) = (work(plan.clone(), Rc::clone(&tally)), Rc::clone(&tally));
            spawn_local(async move {
                if let Err(error) = work.await {
                    tally.error(&error.to_string());
                }
            })
        };
        let tasks = (0..plan.connections).map(task).collect();
        Self {
            tally,
            began: Instant::now(),
            tasks,
        }
    }

    /// Forgets what was counted so far.
    pub(crate) fn mark(&mut self) {
        let errors = std::mem::take(&mut *self.tally.counted.borrow_mut());
        // An error while warming up is an error.
        self.tally.counted.borrow_mut().errors = errors.errors;
        self.tally.counted.borrow_mut().first_error = errors.first_error;
        self.began = Instant::now();
    }

    /// What was counted since the mark; stops.
    pub(crate) fn finish(self) -> Counted {
        self.tally.stopped.set(true);
        let mut counted = std::mem::take(&mut *self.tally.counted.borrow_mut());
        counted.seconds = self.began.elapsed().as_secs_f64();
        counted.latencies.sort_by(f32::total_cmp);
        counted
    }

    /// Lets exactly `count` requests pass, and waits for their answers; events come by themselves.
    pub(crate) async fn exactly(&self, count: usize) -> Fallible<()> {
        let tally = &self.tally;
        let before = tally.counted.borrow().count;
        tally.left.set(count);
        tally.go.notify_waiters();
        let mut last = (0, Instant::now());
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let counted = tally.counted.borrow();
            if let Some(error) = &counted.first_error {
                return Err(error.clone().into());
            }
            let so_far = counted.count - before;
            if so_far >= count {
                return Ok(());
            }
            if so_far > last.0 {
                last = (so_far, Instant::now());
            }
            if last.1.elapsed() > Duration::from_secs(60) {
                return Err(
                    format!("nothing has come for a minute, after {so_far} of {count}").into(),
                );
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Tally {
    fn error(&self, error: &str) {
        let mut counted = self.counted.borrow_mut();
        counted.errors += 1;
        counted.first_error.get_or_insert_with(|| error.to_owned());
    }

    #[expect(clippy::cast_possible_truncation, reason = "a latency for a table")]
    fn count(&self, microseconds: f64) {
        let mut counted = self.counted.borrow_mut();
        counted.count += 1;
        counted.latencies.push(microseconds as f32);
    }

    fn check(&self, plan: &Plan, head: Head) -> bool {
        if head.status != plan.expect {
            self.error(&format!(
                "status {} instead of {}",
                head.status, plan.expect
            ));
        }
        head.status == plan.expect
    }
}

pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn asking(plan: &Plan, tally: &Tally) -> io::Result<()> {
    let mut reader = Reader::new(connect(plan.address).await?);
    while !tally.stopped.get() {
        while tally.left.get() == 0 {
            tally.go.notified().await;
        }
        tally.left.set(tally.left.get() - 1);
        let request = plan.next();
        let sent = Instant::now();
        reader.stream().write_all(&request).await?;
        let head = reader.answer().await?;
        reader.body(head.framing, b"").await?;
        if tally.check(plan, head) {
            tally.count(sent.elapsed().as_secs_f64() * 1e6);
        }
    }
    Ok(())
}

async fn listening(plan: &Plan, tally: &Tally) -> io::Result<()> {
    let mut reader = Reader::new(connect(plan.address).await?);
    while !tally.stopped.get() {
        let request = plan.next();
        reader.stream().write_all(&request).await?;
        let head = reader.answer().await?;
        if !tally.check(plan, head) {
            return Ok(());
        }
        let (mut framing, mut rest) = (head.framing, Vec::new());
        while let Some(piece) = reader.piece(&mut framing).await? {
            let now = clock::nanoseconds();
            rest.extend_from_slice(&piece);
            // An event may be cut anywhere by what lies between.
            while let Some((sent, end)) = event(&rest) {
                rest.drain(..end);
                tally.count(microseconds(now.saturating_sub(sent)));
            }
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a latency for a table")]
fn microseconds(nanoseconds: u128) -> f64 {
    nanoseconds as f64 / 1e3
}

/// When the first event of `bytes` was sent, and where it ends.
fn event(bytes: &[u8]) -> Option<(u128, usize)> {
    let end = bytes.windows(2).position(|two| two == b"\n\n")? + 2;
    let whole = bytes.get(..end)?;
    let at = whole
        .windows(SENT.len())
        .position(|window| window == SENT)?
        + SENT.len();
    let digits = whole
        .get(at..)?
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let sent = digits.fold(0_u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    Some((sent, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_counted_when_it_is_whole() {
        let text = b"event: message\ndata: {\"sent\":1234}\n\ndata: {\"sent\":5";
        assert_eq!(event(&text[..30]), None);
        assert_eq!(event(text), Some((1234, 36)));
        assert_eq!(event(&text[36..]), None);
    }

    #[test]
    fn quantiles_of_few_and_of_none() {
        let latencies = vec![1.0, 2.0, 3.0, 4.0, 100.0];
        let counted = Counted {
            latencies,
            ..Counted::default()
        };
        assert!((counted.quantile(0.5) - 3.0).abs() < 1e-6);
        assert!((counted.quantile(0.99) - 100.0).abs() < 1e-6);
        assert!(Counted::default().quantile(0.5).abs() < 1e-6);
    }
}
