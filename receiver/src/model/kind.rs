//! Kinds of models, told apart by the names and shapes of their inputs and outputs.

use super::runtime::Network;

/// A kind of model that is known.
pub(super) struct Kind<R> {
    /// How operators call it.
    pub(super) name: &'static str,
    /// Tells whether a network is of this kind.
    pub(super) recognise: R,
    /// What the inputs and outputs of such a network are, as a sentence goes on after the name.
    pub(super) form: &'static str,
}

/// What `attempt` makes of a network by the kind `wanted`, or else by the first kind that it is of.
///
/// # Errors
/// If there is no such kind, or the network is not of it; `what` names models of any kind.
pub(super) fn recognise<R, T>(
    (what, kinds): (&str, &[Kind<R>]),
    network: &Network,
    wanted: Option<&str>,
    attempt: impl Fn(&R) -> Option<T>,
) -> Result<T, String> {
    if let Some(name) = wanted {
        let names = || kinds.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
        let kind = kinds.iter().find(|kind| kind.name == name);
        let kind = kind.ok_or_else(|| format!("kind={name} is none of {}", names()))?;
        let found = attempt(&kind.recognise);
        return found.ok_or_else(|| format!("kind={name} {}, but {}", kind.form, network.describe()));
    }
    let found = kinds.iter().find_map(|kind| attempt(&kind.recognise));
    found.ok_or_else(|| {
        let forms: Vec<_> = kinds.iter().map(|kind| format!("{} {}", kind.name, kind.form)).collect();
        format!("this is no {what} that is known: {}, while {}", network.describe(), forms.join("; "))
    })
}
