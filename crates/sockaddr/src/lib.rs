//! Templates in addresses, as HashiCorp's go-sockaddr has them: `https://{{ GetPrivateIP }}:8200`.
//!
//! A configuration that is the same on all nodes names the address of each by a template. [`expand`] evaluates the part of
//! that language that its documentation describes for addresses: a pipeline of sources, filters, sorting and attributes
//! between double braces, and variables for them. `range`, `with` and conditions of Go's templates are not served. What cannot be evaluated, or
//! finds no address, is an error that says so.

mod address;
mod interfaces;
mod math;
mod template;

pub use interfaces::Interface;

/// The interfaces of this machine, read when they are first needed.
///
/// # Errors
///
/// The template is malformed, or finds no address.
pub fn expand(text: &str) -> Result<String, String> {
    if !text.contains("{{") {
        return Ok(text.to_owned());
    }
    let all =
        interfaces::system().map_err(|error| format!("the network interfaces cannot be read: {error}"))?;
    expand_with(text, &all)
}

/// As [`expand`], with the interfaces given.
///
/// # Errors
///
/// As for [`expand`].
pub fn expand_with(text: &str, all: &[Interface]) -> Result<String, String> {
    template::expand(text, all)
}

#[cfg(test)]
mod tests;
