"""A bill of materials from a lock file. The same lock gives the same bill, but for its time (SOURCE_DATE_EPOCH)."""

import os
import sys
import time
import tomllib
import uuid
from datetime import UTC, datetime
from pathlib import Path

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def component(line: str) -> Component:
    """One pinned package; `line` has its name, version, marker and hashes."""
    words, *hashes = line.split(" --hash=")
    pin = Requirement(words)
    (version,) = (one.version for one in pin.specifier)
    place = PackageURL("pypi", None, pin.name, version)
    files = ExternalReference(
        type=ExternalReferenceType.DISTRIBUTION,
        url=XsUri(str(place)),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one.strip().removeprefix("sha256:")) for one in hashes],
    )
    return Component(
        type=ComponentType.LIBRARY,
        name=pin.name,
        version=version,
        purl=place,
        bom_ref=str(place),
        external_references=[files],
        properties=[Property(name="chat2api:marker", value=str(pin.marker))] if pin.marker else [],
    )


def bill(lock: Path) -> Bom:
    """The bill of what a lock file pins."""
    text = lock.read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    itself = Component(
        type=ComponentType.APPLICATION,
        name=project["name"],
        version=project["version"],
        bom_ref=project["name"],
        description=project["description"],
    )
    made = Bom(components=[component(line) for line in text.replace("\\\n", " ").splitlines() if line.strip()])
    made.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, text)
    made.metadata.component = itself
    made.metadata.timestamp = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())), UTC)
    made.register_dependency(itself, made.components)
    return made


if __name__ == "__main__":
    print(make_outputter(bill(ROOT / sys.argv[1]), OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2))
