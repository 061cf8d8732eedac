"""Draw examples/files/co2_chart.png: a chart without a text layer, to be found through OCR.

Yearly means of the weekly atmospheric CO2 concentrations at Mauna Loa, Hawaii, in parts per
million, of every sixth year. Data (public domain): C. D. Keeling and T. P. Whorf (2004),
Atmospheric CO2 concentrations derived from flask air samples at sites in the SIO network, in
Trends: A Compendium of Data on Global Change, CDIAC, Oak Ridge National Laboratory; as shipped in
statsmodels 0.15 (``statsmodels/datasets/co2/co2.csv``), averaged over each calendar year.

    python examples/make_chart.py
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MEANS = {
    1959: 315.9,
    1965: 320.0,
    1971: 326.3,
    1977: 333.9,
    1983: 342.7,
    1989: 352.9,
    1995: 360.8,
    2001: 370.9,
}
"""Year -> parts per million, mean of that year's weeks, rounded to 0.1."""


def draw(target: Path) -> None:
    """Write the chart as a PNG of 800 x 500 pixels."""
    figure, axes = plt.subplots(figsize=(8, 5), dpi=100)
    axes.plot(list(MEANS), list(MEANS.values()), "o-", color="#3b6ea5", linewidth=2)
    for year, mean in MEANS.items():
        axes.annotate(f"{mean:.1f}", (year, mean), (-6, 8), textcoords="offset points", ha="right")
    axes.set_xticks(list(MEANS))
    axes.set_xlim(1954, 2004)
    axes.set_ylim(310, 380)
    axes.set_title("Carbon dioxide in the air at Mauna Loa, Hawaii")
    axes.set_ylabel("parts per million, yearly mean")
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.02, 0.01, "Source: Keeling and Whorf (2004), CDIAC", fontsize=9)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(target, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).parent / "files" / "co2_chart.png")
