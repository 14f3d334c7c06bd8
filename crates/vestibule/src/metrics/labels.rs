//! Labels of metrics as types: a label has a fixed list of values, so nothing from outside can ever become one, and how many
//! series there are is known when the program is compiled.

use std::fmt::{self, Debug};

use prometheus_client::encoding::{EncodeLabel as _, LabelSetEncoder};

/// A label with its values.
pub(crate) trait Label: Copy + Debug + Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// Every value it can have.
    const VALUES: &'static [&'static str];

    /// Which of them this is.
    fn index(self) -> usize;
}

/// An enum that is a label.
macro_rules! label {
    ($(#[$doc:meta])* $label:ident = $name:literal { $($(#[$why:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $label { $($(#[$why])* $variant,)+ }

        impl $crate::metrics::labels::Label for $label {
            const NAME: &'static str = $name;
            const VALUES: &'static [&'static str] = &[$($value,)+];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}
#[cfg(test)]
pub(crate) use label;

mod exchange;
mod outcomes;

pub(crate) use exchange::*;
pub(crate) use outcomes::*;

/// The labels of a metric, together.
pub(crate) trait Labels: Copy + Debug + Send + Sync + 'static {
    /// How many series there can be.
    const SERIES: usize;

    /// Which of them this is.
    fn index(self) -> usize;

    /// Writes the labels of a series.
    fn write(index: usize, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result;

    /// The names.
    fn names() -> Vec<&'static str>;
}

fn pair<L: Label>(index: usize, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
    let value = L::VALUES.get(index).copied().unwrap_or_default();
    (L::NAME, value).encode(encoder.encode_label())
}

/// No labels: one series.
impl Labels for () {
    const SERIES: usize = 1;

    fn index(self) -> usize {
        0
    }

    fn write(_: usize, _: &mut LabelSetEncoder<'_>) -> fmt::Result {
        Ok(())
    }

    fn names() -> Vec<&'static str> {
        Vec::new()
    }
}

impl<A: Label> Labels for (A,) {
    const SERIES: usize = A::VALUES.len();

    fn index(self) -> usize {
        self.0.index()
    }

    fn write(index: usize, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        pair::<A>(index, encoder)
    }

    fn names() -> Vec<&'static str> {
        vec![A::NAME]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    const SERIES: usize = A::VALUES.len() * B::VALUES.len();

    fn index(self) -> usize {
        self.0.index() * B::VALUES.len() + self.1.index()
    }

    fn write(index: usize, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let second = B::VALUES.len();
        pair::<A>(index / second, encoder)?;
        pair::<B>(index % second, encoder)
    }

    fn names() -> Vec<&'static str> {
        vec![A::NAME, B::NAME]
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    const SERIES: usize = <(A, B)>::SERIES * C::VALUES.len();

    fn index(self) -> usize {
        (self.0, self.1).index() * C::VALUES.len() + self.2.index()
    }

    fn write(index: usize, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let third = C::VALUES.len();
        <(A, B)>::write(index / third, encoder)?;
        pair::<C>(index % third, encoder)
    }

    fn names() -> Vec<&'static str> {
        vec![A::NAME, B::NAME, C::NAME]
    }
}
