"""Draw adapter.png, the picture of the README: python examples/figures/draw.py"""

from itertools import pairwise
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

SHARED, DOMAIN, ROW, PLAIN = "#dbe7f5", "#fbe3cf", "#e3f1de", "#ffffff"
INK, FADED = "#22303c", "#9aa5ae"


class Drawing:
    """Boxes and arrows in axes whose unit is one inch."""

    def __init__(self, width, height):
        self.figure = Figure(figsize=(width, height), dpi=140)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, width), ylim=(0, height))
        self.axes.axis("off")

    def box(self, x, y, width, height, text="", color=PLAIN, edge=INK, size=9):
        style = "round,pad=0,rounding_size=0.08"
        patch = FancyBboxPatch((x, y), width, height, style, facecolor=color, edgecolor=edge)
        self.axes.add_patch(patch)
        self.text(x + width / 2, y + height / 2, text, size, color=edge)

    def text(self, x, y, text, size=9, align="center", color=INK, **style):
        style = dict(ha=align, va="center", fontsize=size, color=color, linespacing=1.4) | style
        self.axes.text(x, y, text, **style)

    def arrow(self, *points, color=INK):
        """A line through the points with a head at the last one."""
        for start, end in pairwise(points[:-1]):
            self.axes.plot(*zip(start, end), color=color, lw=1.2, solid_capstyle="round")
        head = dict(arrowstyle="-|>", color=color, lw=1.2, shrinkA=0, shrinkB=0)
        self.axes.annotate("", points[-1], points[-2], arrowprops=head)


def draw_model(drawing):
    """The network: a tower per domain, one hyper-network for all."""
    box, arrow = drawing.box, drawing.arrow
    drawing.text(0.25, 4.72, "One row through HAMUR", 11, "left", weight="bold")
    box(0.25, 1.55, 1.25, 1.1, "one row:\nuser, item,\ncontext,\ndomain $d$", ROW)
    box(1.85, 1.55, 0.95, 1.1, "embedded\ninstance\n$e$", SHARED)
    arrow((1.5, 2.1), (1.85, 2.1))
    box(1.6, 3.5, 1.45, 0.75, "hyper-network\n(one, shared)", SHARED)
    arrow((2.32, 2.65), (2.32, 3.5))
    box(3.6, 3.5, 1.65, 0.75, "instance matrix\n$I$ ($K{\\times}K$, per row)", ROW)
    arrow((3.05, 3.87), (3.6, 3.87))
    for shift in (0.36, 0.18):  # the towers of the other domains
        box(3.35 + shift, 0.5 + shift, 2.15, 2.45, color=PLAIN, edge=FADED)
    box(3.35, 0.5, 2.15, 2.45, color=PLAIN)
    box(3.55, 0.85, 1.75, 0.42, "hidden layers", DOMAIN)
    box(3.55, 1.6, 1.75, 0.42, "adapter cell", DOMAIN, size=10)
    box(3.55, 2.35, 1.75, 0.42, "output layer", DOMAIN)
    arrow((4.42, 1.27), (4.42, 1.6))
    arrow((4.42, 2.02), (4.42, 2.35))
    arrow((2.8, 1.9), (3.08, 1.9), (3.08, 1.06), (3.55, 1.06))
    drawing.text(4.42, 0.67, "tower of domain $d$", 8)
    drawing.text(6.05, 0.66, "a tower\nper domain", 8, "left", FADED)
    arrow((5.3, 2.56), (6.1, 2.56))
    drawing.text(6.15, 2.56, "$p$(click)", 9, "left")
    arrow((3.8, 3.5), (3.8, 3.4), (3.21, 3.4), (3.21, 1.81), (3.55, 1.81))


def draw_cell(drawing):
    """The adapter cell, from left to right in five steps."""
    box, arrow = drawing.box, drawing.arrow
    left = 7.05
    drawing.axes.add_patch(Rectangle((left - 0.15, 0.3), 4.45, 4.2, facecolor="#f7f8fa", lw=0))
    drawing.text(left, 4.72, "The adapter cell", 11, "left", weight="bold")
    centre, width = left + 1.25, 1.9
    steps = (
        (0.45, "$h$   ($H$ units)", PLAIN, ""),
        (
            1.15,
            r"down: $h\,U_d$",
            DOMAIN,
            r"$U_d = W_d^{ul}\, I\; W_d^{ur}$" "\n$H{\\times}M$, per row",
        ),
        (1.85, "sigmoid", PLAIN, ""),
        (
            2.55,
            r"up: $z\,V_d$",
            DOMAIN,
            r"$V_d = W_d^{vl}\, I\; W_d^{vr}$" "\n$M{\\times}H$, per row",
        ),
        (3.25, "domain norm", DOMAIN, "statistics, scale and\nshift of domain $d$"),
        (3.95, "$h'$   ($H$ units)", PLAIN, ""),
    )
    for y, label, color, note in steps:
        box(centre - width / 2, y, width, 0.42, label, color)
        drawing.text(centre + width / 2 + 0.2, y + 0.21, note, 8.5, "left")
    for (y, *_), (above, *_) in pairwise(steps):
        arrow((centre, y + 0.42), (centre, above))
    skip = centre - width / 2 - 0.2
    arrow((centre - width / 2, 0.66), (skip, 0.66), (skip, 4.16), (centre - width / 2, 4.16))
    drawing.text(skip + 0.1, 3.02, "+", 11)


def main():
    """Write the picture beside this file."""
    drawing = Drawing(11.5, 4.95)
    draw_model(drawing)
    draw_cell(drawing)
    for x, color, text in (
        (0.25, SHARED, "shared by all domains"),
        (2.45, DOMAIN, "own weights per domain"),
        (4.75, ROW, "different for every row"),
    ):
        drawing.box(x, 0.03, 0.22, 0.16, color=color)
        drawing.text(x + 0.32, 0.11, text, 8, "left")
    drawing.figure.savefig(Path(__file__).with_name("adapter.png"))


if __name__ == "__main__":
    main()
