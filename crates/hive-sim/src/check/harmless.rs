//! After a story nothing of ours is on. (That nothing is turned on without consent is watched at every step.)

use crate::net::HostId;
use crate::stories::Failure;
use crate::world::World;

/// Fails if any of these machines still carries a change.
pub fn nothing_is_on(world: &World, hosts: &[HostId]) -> Result<(), Failure> {
    for id in hosts {
        let on = world.host(*id).machine.on();
        if let Some(action) = on.first() {
            let what = format!("machine {} still carries {}", id.0, action.name());
            return Err(Failure::Correctness(what));
        }
    }
    Ok(())
}
