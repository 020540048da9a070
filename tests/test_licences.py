"""Each direct dependency has its licence on docs/licences.md, and it is the one that the package states."""

from licences import find_licence, list_direct_dependencies, read_page


def test_each_direct_dependency_has_a_licence() -> None:
    listed, direct = read_page(), list_direct_dependencies()
    assert listed.keys() == direct.keys(), "python tests/licences.py writes the page again"
    for package in direct:
        assert listed[package].strip(), f"{package}: no licence is listed"
        if (stated := find_licence(package)) is not None:
            assert stated, f"{package} states no licence"
