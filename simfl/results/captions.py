"""How to read each figure of a report: a name for it, and what is drawn."""

from __future__ import annotations

#: By the name that the command line gives a plot.
CAPTIONS: dict[str, tuple[str, str]] = {
    "accuracy": ("Accuracy", "test accuracy of the server's model as virtual time passes"),
    "accuracy-bytes": ("Accuracy against traffic", "the same against bytes moved, both ways"),
    "bands": (
        "Progress over seeds",
        "the line is the median over seeds, the band reaches from the worst to the best seed; a "
        "run that has ended keeps its last value",
    ),
    "bands-bytes": ("Progress against traffic", "the same against bytes moved, both ways"),
    "time-to-target": (
        "Costs to the target",
        "bars are medians over seeds, whiskers 95 % bootstrap intervals; an open bar with an arrow "
        "is a lower bound, since half of the seeds or more missed the target",
    ),
    "pareto": (
        "Time and bytes to the target",
        "further left is sooner, further down is less traffic; the line joins the variants that no "
        "other beats in both",
    ),
    "performance-profile": (
        "Performance profile",
        "the share of the problems that a method solves at no more than so many times the best "
        "cost; the height at 1 is how often it was the best, the right end how often it met the "
        "target at all",
    ),
    "tuning": (
        "Tuning",
        "a dot is the cost of a trial, a cross a lower bound of one that missed the target or "
        "failed, the line the best trial so far",
    ),
    "importance": (
        "Which options mattered",
        "the share of the differences between trials that each option explains (functional ANOVA)",
    ),
    "staleness": (
        "Staleness",
        "how many versions were made between a task's dispatch and the use of its update; tasks "
        "still in flight at the end stand on top with their age",
    ),
    "staleness-by-class": (
        "Staleness by device class",
        "each ridge is a histogram scaled to its own peak; the dot is the median, the line the "
        "middle 90 %",
    ),
    "staleness-ridges": (
        "Staleness of applied updates",
        "each ridge is a histogram scaled to its own peak; the dot is the median, the line the "
        "middle 90 %",
    ),
    "staleness-heatmap": (
        "Staleness over time",
        "the brighter, the staler the updates of a device class; grey where it delivered none",
    ),
    "participation": (
        "Who contributed",
        "the further a line hangs below the diagonal, the fewer devices did most of the work; the "
        "Gini coefficient is 0 for equal shares",
    ),
    "traffic": ("Traffic", "bytes per second: uploads above the axis, downloads below"),
    "waste": ("Waste by cause", "device time of tasks whose update entered no model, by phase"),
    "critical-path": (
        "What each version waited for",
        "the time between two versions, divided by what its last update was doing",
    ),
    "slowest-version": (
        "Why the slowest version was slow",
        "every task that the version waited for, as a bar from dispatch to use",
    ),
    "timeline": ("The first tasks", "a row is a device, a bar a task in its three phases"),
}
