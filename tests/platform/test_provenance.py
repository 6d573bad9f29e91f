from memflux import __version__
from memflux.platform.provenance import provenance


def test_provenance_names_versions_machine_and_date():
    about = provenance()
    assert about["memflux"] == __version__
    assert about["date"].endswith("UTC")
    assert about["processor"]
    assert int(about["cores"]) >= 1
    assert "numpy" in about
    assert all(isinstance(v, str) for v in about.values())
