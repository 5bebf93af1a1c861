"""The image that the chart runs (`make test-image`): twice the same, small, nobody's in particular, and it starts."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.image.making import make

from windrow import __version__

ROOT = Path(__file__).parents[2]
MB_MOST = 60


class Image:
    def __init__(self, place: Path) -> None:
        self.said = make(place)
        self.archive, self.root = place / "windrow.tar", place / "root"
        with tarfile.open(self.archive) as found:
            self.files = {one.name: found.extractfile(one).read() for one in found if one.isfile()}  # type: ignore[union-attr]
        (self.entry,) = json.loads(self.files["index.json"])["manifests"]
        self.manifest: dict[str, Any] = self.blob(self.entry)
        self.config: dict[str, Any] = self.blob(self.manifest["config"])

    def blob(self, descriptor: dict[str, Any]) -> Any:
        return json.loads(self.files[self.path(descriptor)])

    def path(self, descriptor: dict[str, Any]) -> str:
        return "blobs/" + str(descriptor["digest"]).replace(":", "/")

    def layers(self) -> Iterator[tarfile.TarInfo]:
        for layer in self.manifest["layers"]:
            with tarfile.open(fileobj=io.BytesIO(gzip.decompress(self.files[self.path(layer)]))) as found:
                yield from found


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image(tmp_path_factory.mktemp("image"))


def test_twice_the_same(image: Image, tmp_path: Path) -> None:
    digest = image.entry["digest"]
    assert f"@{digest}, " in image.said
    assert f"@{digest}, " in make(tmp_path / "again")


def test_it_is_small(image: Image) -> None:
    assert image.archive.stat().st_size < MB_MOST * 1_000_000


def test_it_is_what_the_chart_asks_for(image: Image) -> None:
    values = yaml.safe_load((ROOT / "deploy/chart/values.yaml").read_text())["image"]
    chart = yaml.safe_load((ROOT / "deploy/chart/Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert f"docker.io/library/{values['repository']}:{chart['appVersion']}@" in image.said
    assert image.entry["annotations"]["org.opencontainers.image.ref.name"].endswith(f"windrow:{__version__}")


def test_whoever_starts_it_is_nobody_in_particular_and_gains_nothing(image: Image) -> None:
    config = image.config["config"]
    assert (config["User"], config["Entrypoint"]) == ("65532:65532", ["windrow"])
    for one in image.layers():
        assert (one.uid, one.gid, one.mode & 0o6000) == (0, 0, 0), one.name
        assert not one.isdev(), one.name
        assert one.issym() or not one.mode & 0o002 or one.name.rstrip("/") == "tmp", one.name


def test_no_word_of_where_it_was_made(image: Image) -> None:
    here = [os.fsencode(ROOT), os.fsencode(image.root)]
    for path in image.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            assert not any(word in data for word in here), path


_WITH_DEVICES = 'mount --bind /dev "$0/dev" && exec chroot --userspec=65532:65532 "$0" "$@"'
"""As a runtime gives them: dnsmasq reads /dev/urandom first of all."""


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot is root's")
@pytest.mark.parametrize(
    "words",
    [
        ["windrow", "version"],
        ["windrow", "manager", "--help"],
        ["sh", "-c", "command -v mount udhcpc nft openssl dnsmasq"],
        ["nft", "--version"],
        ["dnsmasq", "--version"],
        ["openssl", "version"],
        ["python3.11", "-c", "import windrow.apps.manager.serve, windrow.apps.webhook.serve, lightkube, ssl, sqlite3"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_it_starts(image: Image, words: list[str]) -> None:
    command = ["unshare", "--mount", "sh", "-c", _WITH_DEVICES, str(image.root), *words]
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_compiled_at_a_start(image: Image) -> None:
    """Its root may not be written: what has no compiled form is compiled again and again."""
    place = image.root / "usr/lib/python3/dist-packages/windrow"
    lacks = [
        path
        for path in place.rglob("*.py")
        if not (path.parent / "__pycache__" / f"{path.stem}.cpython-311.pyc").exists()
    ]
    assert lacks == []
