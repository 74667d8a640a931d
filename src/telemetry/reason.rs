//! Why a card's clocks are lower than they could be.

use nvml_wrapper::bitmasks::device::ThrottleReasons;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    ThermalSoftware,
    ThermalHardware,
    /// The hardware halves the clocks at least: heat, power brake or a spike of power.
    HardwareSlowdown,
    PowerBrake,
    PowerCap,
    SyncBoost,
    ApplicationClocks,
    DisplayClocks,
    Idle,
}

impl Reason {
    pub const ALL: [Reason; 9] = [
        Reason::ThermalSoftware,
        Reason::ThermalHardware,
        Reason::HardwareSlowdown,
        Reason::PowerBrake,
        Reason::PowerCap,
        Reason::SyncBoost,
        Reason::ApplicationClocks,
        Reason::DisplayClocks,
        Reason::Idle,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Reason::ThermalSoftware => "thermal-software",
            Reason::ThermalHardware => "thermal-hardware",
            Reason::HardwareSlowdown => "hardware-slowdown",
            Reason::PowerBrake => "power-brake",
            Reason::PowerCap => "power-cap",
            Reason::SyncBoost => "sync-boost",
            Reason::ApplicationClocks => "application-clocks",
            Reason::DisplayClocks => "display-clocks",
            Reason::Idle => "idle",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Reason::ThermalSoftware => "too hot",
            Reason::ThermalHardware => "too hot (hardware limit)",
            Reason::HardwareSlowdown => "slowed by the hardware",
            Reason::PowerBrake => "power brake of the power supply",
            Reason::PowerCap => "at its power limit",
            Reason::SyncBoost => "limited by another card of its sync boost group",
            Reason::ApplicationClocks => "clocks set by a user",
            Reason::DisplayClocks => "clocks set for the display",
            Reason::Idle => "idle",
        }
    }

    /// Whether the card ran slower than it does at other times, with the same settings. Not so idleness and clocks that
    /// somebody has set: those are how the card is.
    pub fn throttles(self) -> bool {
        matches!(
            self,
            Reason::ThermalSoftware
                | Reason::ThermalHardware
                | Reason::HardwareSlowdown
                | Reason::PowerBrake
                | Reason::PowerCap
        )
    }

    /// Whether figures taken meanwhile decide nothing. A card at its power limit is throttled and not disturbed: a card
    /// that is worked hard always is, as it will be in service.
    pub fn disturbs(self) -> bool {
        self.throttles() && self != Reason::PowerCap
    }

    /// The reasons in NVML's bits. Bits that are newer than this program say nothing.
    pub(super) fn of(bits: ThrottleReasons) -> Vec<Reason> {
        let bit = |reason: &Reason| match reason {
            Reason::ThermalSoftware => ThrottleReasons::SW_THERMAL_SLOWDOWN,
            Reason::ThermalHardware => ThrottleReasons::HW_THERMAL_SLOWDOWN,
            Reason::HardwareSlowdown => ThrottleReasons::HW_SLOWDOWN,
            Reason::PowerBrake => ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN,
            Reason::PowerCap => ThrottleReasons::SW_POWER_CAP,
            Reason::SyncBoost => ThrottleReasons::SYNC_BOOST,
            Reason::ApplicationClocks => ThrottleReasons::APPLICATIONS_CLOCKS_SETTING,
            Reason::DisplayClocks => ThrottleReasons::DISPLAY_CLOCK_SETTING,
            Reason::Idle => ThrottleReasons::GPU_IDLE,
        };
        Reason::ALL.into_iter().filter(|reason| bits.contains(bit(reason))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_reasons_and_names_are_those_of_the_journal() {
        let bits = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_THERMAL_SLOWDOWN;
        assert_eq!(Reason::of(bits), [Reason::ThermalHardware, Reason::PowerCap]);
        assert_eq!(Reason::of(ThrottleReasons::NONE), []);
        assert_eq!(Reason::of(ThrottleReasons::all()).len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
        }
    }

    #[test]
    fn what_the_card_is_set_to_disturbs_nothing() {
        let disturbing: Vec<_> = Reason::ALL.into_iter().filter(|reason| reason.disturbs()).collect();
        use Reason::*;
        assert_eq!(disturbing, [ThermalSoftware, ThermalHardware, HardwareSlowdown, PowerBrake]);
        assert!(PowerCap.throttles() && !Idle.throttles() && !ApplicationClocks.throttles());
    }
}
