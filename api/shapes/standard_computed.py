"""The standard list of computed channels: formulas that are the same everywhere, to be taken over or changed.

Each is for channels of the standard list. What a formula assumes, and where it comes from, stands with it; the page
docs/computed.md shows the list.
"""

from __future__ import annotations

from typing import NamedTuple

from api.shapes.computed import ComputedDefinition, Constant


class StandardComputed(NamedTuple):
    """A definition with a name for it, and what it assumes."""

    name: str
    assumptions: str
    definition: ComputedDefinition


GASES: dict[str, str | None] = {"gas_flow": "sL/h", "exhaust_o2": "%", "exhaust_co2": "%"}
GAS_CONSTANTS: dict[str, Constant] = {
    "inlet_o2": 20.95,
    "inlet_co2": 0.04,
    "molar_volume": 22.414,
    "working_volume": None,
}
"""Mole fractions in %: dry air (U.S. Standard Atmosphere, 1976; carbon dioxide of the 2020s). L/mol of an ideal gas at
0 °C and 1 atm (CODATA 2018). L."""
INERT = "(100 - inlet_o2 - inlet_co2) / (100 - exhaust_o2 - exhaust_co2)"
"""Gas out by gas in: what does not react leaves as it came."""
FLOW = "10 * gas_flow / molar_volume / working_volume"
"""mmol of gas by L and h, by percent."""
OXYGEN = f"(inlet_o2 - exhaust_o2 * {INERT})"
CARBON = f"(exhaust_co2 * {INERT} - inlet_co2)"
BALANCE = "P. M. Doran, Bioprocess Engineering Principles, 2nd ed. (2013), chapter 10: oxygen balance method"
STEADY = (
    "Dry gas, inert but for oxygen and carbon dioxide; steady state of the head space; `gas_flow` counts litres at "
    "0 °C and 1 atm, or `molar_volume` is that of the flow meter's standard; `working_volume` in L is said by device."
)

STANDARD_COMPUTED = (
    StandardComputed(
        "our",
        STEADY + " Oxygen dissolved in the broth is constant, so that uptake is transfer.",
        ComputedDefinition(
            formula=f"{FLOW} * {OXYGEN}",
            inputs=GASES,
            constants=GAS_CONSTANTS,
            unit="mmol/L/h",
            title="Oxygen uptake rate",
            decimals=1,
            source=BALANCE,
        ),
    ),
    StandardComputed(
        "cer",
        STEADY + " Carbon dioxide held as bicarbonate is constant: not so while the pH changes.",
        ComputedDefinition(
            formula=f"{FLOW} * {CARBON}",
            inputs=GASES,
            constants=GAS_CONSTANTS,
            unit="mmol/L/h",
            title="Carbon dioxide evolution rate",
            decimals=1,
            source=BALANCE,
        ),
    ),
    StandardComputed(
        "respiratory_quotient",
        "As of `our` and `cer`; flow and volume cancel out. Near no uptake it says nothing.",
        ComputedDefinition(
            formula=f"{CARBON} / {OXYGEN}",
            inputs={"exhaust_o2": "%", "exhaust_co2": "%"},
            constants={name: GAS_CONSTANTS[name] for name in ("inlet_o2", "inlet_co2")},
            unit="1",
            title="Respiratory quotient",
            decimals=2,
            source=BALANCE,
        ),
    ),
    StandardComputed(
        "kla",
        STEADY + " The gas is ideally mixed; the probe was calibrated to 100 % with inlet gas at the same pressure; "
        "`oxygen_solubility` in mmol/L is that of the broth at 100 % (0.21: water of 37 °C).",
        ComputedDefinition(
            formula=f"{FLOW} * {OXYGEN} / (oxygen_solubility * (exhaust_o2 / inlet_o2 - dissolved_oxygen / 100))",
            inputs=GASES | {"dissolved_oxygen": "%"},
            constants=GAS_CONSTANTS | {"oxygen_solubility": 0.21},
            unit="1/h",
            title="Oxygen transfer coefficient kLa",
            decimals=0,
            source=BALANCE + ", with kLa = OTR / (C* - C)",
        ),
    ),
    StandardComputed(
        "growth_rate",
        "Optical density is proportional to biomass; nothing is fed, harvested or diluted in the window.",
        ComputedDefinition(
            formula='rate(ln(optical_density), "1h")',
            inputs={"optical_density": "AU"},
            unit="1/h",
            title="Specific growth rate",
            decimals=3,
            max_age="10m",
            source="J. Monod, The growth of bacterial cultures, Annu. Rev. Microbiol. 3 (1949) 371-394",
        ),
    ),
    StandardComputed(
        "biomass_growth_rate",
        "`biomass` is a concentration; feed and harvest are taken into account by the volume, which is well known.",
        ComputedDefinition(
            formula='rate(ln(biomass * volume), "1h")',
            inputs={"biomass": "g/L", "volume": "L"},
            unit="1/h",
            title="Specific growth rate, by biomass",
            decimals=3,
            max_age="10m",
            source="J. Monod, The growth of bacterial cultures, Annu. Rev. Microbiol. 3 (1949) 371-394, of all biomass",
        ),
    ),
    *(
        StandardComputed(
            f"feed_{feed}_since_start",
            "The feed is a straight line between two samples; `start` is said by device; at most 31 days after it.",
            ComputedDefinition(
                formula=f"total(feed_{feed}_rate, start)",
                inputs={f"feed_{feed}_rate": "mL/h"},
                constants={"start": None},
                unit="mL",
                title=f"Feed {feed.upper()} since the start",
                decimals=1,
                source="the integral of the rate, by the trapezoidal rule",
            ),
        )
        for feed in "abcd"
    ),
)
