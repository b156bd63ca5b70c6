//! The API key of a group's server, and the mask that keeps secrets out of records.

use crate::{
    plan::Group,
    secret::{Mask, environment},
};

/// The key from the variable that `server.launch.api_key_env` names; `None` where it is unset or empty.
pub(super) fn api_key(group: &Group) -> Option<String> {
    let name = group.server.launch.api_key_env.as_ref()?;
    std::env::var(name).ok().filter(|key| !key.is_empty())
}

/// A mask of every secret in the environment, the API key included.
pub(super) fn mask(group: &Group) -> Mask {
    let named = group.server.launch.api_key_env.as_deref();
    Mask::of(environment(), named.as_slice())
}
