"""Name the packages of a wheel: ``src`` is called ``residual`` there, so that it meets no other project's ``src``.

All else is in pyproject.toml, which cannot find packages under another name.
"""

from setuptools import find_packages, setup

setup(
    packages=["residual", *(f"residual.{name}" for name in find_packages("src")), "residual.conf", "hydra_plugins"],
    package_dir={"residual": "src", "residual.conf": "conf"},
    package_data={
        "": ["*.csv", "*.css", "*.html", "*.j2", "*.js", "*.sh", "*.svg", "*.json"],
        "residual.conf": ["**/*.yaml"],
    },
)
