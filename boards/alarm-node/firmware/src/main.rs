//! The smallest program that uses all of the node: bytes come in at one address, the level of a
//! button and the time at two others, and the siren hangs on a fourth. A real program has its
//! controller's drivers in their place.
//!
//! It is built and measured by `cargo xtask alarm-node`, and has not been run on a microcontroller.

#![no_std]
#![no_main]

use core::convert::Infallible;
use core::ptr::{addr_of_mut, read_volatile, write_volatile};

use alarm_node::{AlarmNode, Config};
use alert_wire::MAX_POSTCARD;
use boards::{ActiveLevel, PinAlarm};
use embedded_hal::digital::{ErrorType, OutputPin};

/// Addresses in the range of a Cortex-M's peripherals.
const BYTE: *const u32 = 0x4001_1004 as *const u32;
const BUTTON: *const u32 = 0x4002_0010 as *const u32;
const MILLISECONDS: *const u32 = 0x4000_0024 as *const u32;
const SIREN: *mut u32 = 0x4002_0018 as *mut u32;

/// Statics, so that the linker counts them: what the node and its buffer need of RAM.
static mut NODE: Option<AlarmNode<PinAlarm<Siren>>> = None;
static mut BUFFER: [u8; MAX_POSTCARD] = [0; MAX_POSTCARD];

struct Siren;

impl ErrorType for Siren {
    type Error = Infallible;
}

impl OutputPin for Siren {
    fn set_low(&mut self) -> Result<(), Infallible> {
        // SAFETY: a write to a register of the controller touches no memory.
        unsafe { write_volatile(SIREN, 0) };
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        // SAFETY: as above.
        unsafe { write_volatile(SIREN, 1) };
        Ok(())
    }
}

fn register(address: *const u32) -> u32 {
    // SAFETY: a read of a register of the controller touches no memory.
    unsafe { read_volatile(address) }
}

/// Where the processor starts.
#[unsafe(no_mangle)]
pub extern "C" fn reset() -> ! {
    // SAFETY: this is the only function that uses the statics; it runs once, and nothing runs
    // beside it.
    let (node, buffer) = unsafe { (&mut *addr_of_mut!(NODE), &mut *addr_of_mut!(BUFFER)) };
    let now = u64::from(register(MILLISECONDS));
    let siren = PinAlarm::new(Siren, ActiveLevel::High);
    *node = AlarmNode::new(siren, Config::default(), now).ok();
    let mut length = 0;
    loop {
        let now = u64::from(register(MILLISECONDS));
        let Some(node) = node.as_mut() else {
            continue;
        };
        // A switch that fails is tried again at the next call.
        let _ = node.on_button(register(BUTTON) & 1 == 1, now);
        // Bit 8 says that there is a byte, bit 9 that the message is complete.
        let word = register(BYTE);
        if word & 0x100 != 0
            && let Some(place) = buffer.get_mut(length)
        {
            *place = word as u8;
            length += 1;
        }
        if word & 0x200 != 0 {
            let _ = node.on_message(&buffer[..length], now);
            length = 0;
        }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
