//! An invite as a program holds it: a code or a ticket, and what may be wrong with one that was typed.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use hive_core::hive::ticket::{Ticket, TicketError};

/// An invite: a code or a ticket, and the inviter's address where neither mDNS nor a ticket can tell. `CODE` or
/// `CODE@ADDRESS:PORT` as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HiveInvite {
    /// `HIVE-XXXXX-XXXXX-XXXXX-XXXXX`, or a ticket, `hive1...`.
    pub code: String,
    /// Where the inviter is.
    pub at: Option<SocketAddr>,
}

/// Why a text is no invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// It does not begin with `HIVE-` or has not 20 symbols in groups of five.
    #[error("an invite looks like HIVE-XXXXX-XXXXX-XXXXX-XXXXX")]
    Shape,
    /// It begins as a ticket, and is none.
    #[error("{0}")]
    Ticket(TicketError),
    /// What follows the `@` is no address with a port.
    #[error("after the @ an address and a port must follow, as in 192.0.2.1:4483")]
    Address,
}

impl FromStr for HiveInvite {
    type Err = InviteError;

    /// Checks the shape of a code only; the node checks its checksum.
    fn from_str(text: &str) -> Result<Self, InviteError> {
        let (code, at) = match text.trim().split_once('@') {
            Some((code, at)) => (code, Some(at.parse().map_err(|_| InviteError::Address)?)),
            None => (text.trim(), None),
        };
        if code
            .get(..5)
            .is_some_and(|it| it.eq_ignore_ascii_case("hive1"))
        {
            let ticket: Ticket = code.parse().map_err(InviteError::Ticket)?;
            let code = ticket.to_string();
            return Ok(Self { code, at });
        }
        let groups: Vec<&str> = code.split('-').collect();
        let fine = groups.len() == 5
            && groups[0].eq_ignore_ascii_case("hive")
            && groups[1..].iter().all(|group| {
                group.len() == 5 && group.bytes().all(|byte| byte.is_ascii_alphanumeric())
            });
        if !fine {
            return Err(InviteError::Shape);
        }
        Ok(Self {
            code: code.to_ascii_uppercase(),
            at,
        })
    }
}

impl fmt::Display for HiveInvite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.code)?;
        self.at.map_or(Ok(()), |at| write!(f, "@{at}"))
    }
}
