"""No table is made of a study with holes."""

from __future__ import annotations

from simfl.results.study import Study


def whole(study: Study) -> Study:
    """The study, all of whose cells ended well; else the script ends and says which did not."""
    if len(study.failed):
        raise SystemExit(study.failed[["variant", "seed", "ended"]].to_string())
    return study
