"""Adapters as data: a folder with a dictionary `adapter.yaml` and the templates that it names.

A dictionary of method `rest` names a Python module for what a text cannot say (`rest_product`); one of
method `netconf` says which subtrees of YANG data it is for, and what of them a document owns
(`netconf_adapter`); one of method `ansible` is as one of method `shell`, with a playbook that changes the
places (`ansible_adapter`).
What one of method `shell` says: which places (files) hold the configuration, how their text follows
from a document, how the device checks and activates it, how it says what runs, how it is found healthy,
which figures it has, and what its errors mean. Texts are Jinja templates in a sandbox over `document`,
`parameters` and `secret`; commands are such templates over the parameters, and may include files of the
folder.

The folder may come from a third party, so it is bounded and read by a strict model; nothing of it is
executed here but playbooks, by Ansible.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache, cached_property
from importlib import resources
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Literal, NoReturn, Self

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.loaders import DictLoader
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from farsite.model.catalogue import RULES_MAX, TAGS_MAX, Statement, read_licence, read_rule
from farsite.model.configuration import Configuration, Service, Verb
from farsite.model.errors import Invalid, NotSupported
from farsite.model.licence import Licence, LicenceState
from farsite.vnfs.adapter import About, Atomicity, ErrorCode, Evidence, Wanted
from farsite.vnfs.licences import EPOCH, LicenceWords, moment
from farsite.vnfs.playbook_ways import refuse_other_ways
from farsite.vnfs.yang import Rules

FILE = "adapter.yaml"
_MOST_BYTES = 1024 * 1024
_MOST_FILES = 200


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Access(_Strict):
    """How the device is talked to. `function`: as `rest`, over the way of its VIM, to a function of ours."""

    method: Literal["shell", "rest", "netconf", "function", "ansible"]


class TakesBack(StrEnum):
    """Who takes a change back that nobody confirms."""

    ITSELF = "itself"
    """The device, without us."""
    NEXT_CONTACT = "at the next contact"
    """We, before anything else that is asked of it; nothing on the device can."""


class Subtree(_Strict):
    """A part of a device's YANG data; what a tree alone does not tell is said by `rules`."""

    filter: str
    """XML of the element that is the place's root, as a subtree filter of `get-config`: only what it
    selects is read, shown and compared."""
    module: str = ""
    """The YANG module that a device must have for it."""
    lists: Mapping[str, str] = {}
    owned: tuple[str, ...] = ()
    owned_if_stated: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    ordered: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    defaults: Mapping[str, str] = {}
    only: Mapping[str, str] = {}
    hashed: tuple[str, ...] = ()
    identities: Mapping[str, str] = {}
    owned_by: Mapping[str, str] = {}
    """Lists of which a document owns those entries whose first key is a value in the place of this name."""

    @property
    def rules(self) -> Rules:
        """See `Rules`; paths are written with slashes."""
        return Rules(
            lists=self.lists,
            owned=frozenset(tuple(one.split("/")) for one in self.owned),
            owned_if_stated=frozenset(tuple(one.split("/")) for one in self.owned_if_stated),
            filled=frozenset(tuple(one.split("/")) for one in self.filled),
            ordered=frozenset(self.ordered),
            replaced=frozenset(self.replaced),
            pruned=frozenset(self.pruned),
            defaults=self.defaults,
            only={tuple(path.split("/")): pattern for path, pattern in self.only.items()},
            hashed=frozenset(tuple(one.split("/")) for one in self.hashed),
            identities=self.identities,
        )


class Marks(_Strict):
    """Where a device keeps what became of the last change: two objects without effect."""

    filter: str
    template: str
    """Makes XML of `which` (`intent` or `change`) and `value`, a leaf of which has to be `value` alone."""


class Place(_Strict):
    """One file that the adapter owns, and how the device tells what of it runs. Of method `netconf`: one
    subtree."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_.-]{0,40}$")
    path: str = ""
    template: str = ""
    """File name of the template in the folder. Of methods `shell` and `ansible`, like the path; with the
    latter it may be left out, where the playbook makes the file by other means."""
    mode: str = Field(default="0600", pattern=r"^0[0-7]{3}$")
    fetch: str = ""
    """Command that prints what runs, as a file that brings it back: a revert installs that. Empty: the file
    itself."""
    services: frozenset[Service] = frozenset()
    """What of a document goes here; empty: all that the adapter takes. A place that a document says nothing
    of is left alone."""
    data: Subtree | None = None
    """Of method `netconf`."""
    canonical: str = ""
    """Command that brings the text on its standard input into the form that `fetch` prints, with what stays
    as it is beside it; empty: the text as it is."""


class Playbook(_Strict):
    """Of method `ansible`: what changes the places, and shows with `--check --diff` what it would change."""

    file: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*\.ya?ml$")
    """Beside `adapter.yaml`, for the host `device`."""
    within_s: float = Field(default=300.0, ge=2, le=3600)
    """How long it may take."""


class HealthProbe(_Strict):
    """A command that ends with status 0, and prints what `expect` matches, when the service works. Of method
    `netconf` the command is a filter of `get`, which answers lines `PATH VALUE`."""

    name: str
    command: str
    expect: str = ""
    fault: str = ""
    """Of method `netconf`: each match is something that does not work, and is told."""


class Metric(_Strict):
    """Figures from the lines that a command prints: each match of `pattern` is one sample."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    help: str
    command: str
    pattern: str
    """With the groups `value` and one per label."""


class Meaning(_Strict):
    """What words of the device mean. The first pattern that is found decides."""

    match: str
    code: ErrorCode


class Readiness(_Strict):
    """A command that ends with status 0 where the device can be upgraded, and says why not otherwise."""

    name: str
    command: str


class Software(_Strict):
    """How the product's software is changed inside a function. The shell variables `IMAGE` (path of the file
    that was received), `SHA256` (its digest) and `VERSION` are set where a command has them."""

    directory: str
    """Where its versions lie; when it comes out empty, this function's software is not kept in versions."""
    chosen: str
    """File that says which version shall run."""
    installed: str
    """Command that prints a line per installed version."""
    version: str = r"^(?P<version>\S+)(?: (?P<sha256>[0-9a-f]{64}))?$"
    """Pattern of such a line: the groups `version` and, where the device knows it, `sha256` of the image."""
    running: str
    """Command that prints the version at work, by the word of what is at work."""
    previous: str = ""
    """Command that prints the version that was at work before."""
    ready: tuple[Readiness, ...] = ()
    install: str
    """Installs `IMAGE`, whose digest is `SHA256`, beside what runs, and prints its version. May be run
    twice."""
    remove: str
    """Removes `VERSION`, which does not run; absent is success."""
    check: str = ""
    """Whether `VERSION`, which is installed and does not run, finds the configuration right."""
    activate: str
    """Makes `VERSION` run with the configuration that is in place, and ends when it does. Going back is the
    same command with the version of before."""
    room: float = Field(default=3.0, ge=1)
    """How many times its size an image needs below `directory`."""
    within_s: float = Field(default=60.0, ge=2, le=600)
    """How long an upgrade stands unconfirmed, unless the operator says otherwise."""
    steady_s: float = Field(default=2.0, ge=0, le=120)
    """How long the function has to be well in a row."""


class Licensing(_Strict):
    """How the product tells which licences it has, and what its words mean. Where a module asks for them
    (methods `rest` and `function`) it has no command and no pattern."""

    command: str = ""
    """Prints them. Of method `netconf` it is a filter of `get`, which answers lines `PATH VALUE`."""
    pattern: str = ""
    """Each match is a licence, with the groups `name` and, where the product tells them, `state` and
    `expires`. Without `state` a licence is valid until it ends."""
    states: Mapping[str, LicenceState] = {}
    """What the product's words for a state mean; large and small letters are the same."""
    dates: tuple[str, ...] = ()
    """See `LicenceWords.dates`."""
    never: tuple[str, ...] = ()
    """What stands in place of a date where a licence does not end; nothing at all means that too."""

    @field_validator("dates")
    @classmethod
    def _forms(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for form in given:
            try:
                if form != EPOCH:
                    moment(datetime(2000, 2, 29, tzinfo=UTC).strftime(form), form)
            except ValueError as error:
                raise ValueError(f"{form!r} is no form of a date: {error}") from error
        return given

    @property
    def words(self) -> LicenceWords:
        return LicenceWords(
            states={word.lower(): state for word, state in self.states.items()},
            dates=self.dates,
            never=tuple(one.lower() for one in self.never),
        )


class Dictionary(_Strict):
    """The content of `adapter.yaml`."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,40}$")
    vendor: str
    product: str
    versions: str
    tried: tuple[str, ...] = ()
    """The versions that the conformance kit has passed on."""
    description: str = ""
    evidence: Evidence = Evidence.REAL
    release: str = ""
    """Version of the adapter itself; empty, of those that come with Farsite: Farsite's."""
    tags: tuple[str, ...] = Field(default=(), max_length=TAGS_MAX)
    licence: str = ""
    """SPDX expression."""
    requires: tuple[str, ...] = Field(default=(), max_length=RULES_MAX)
    conflicts: tuple[str, ...] = Field(default=(), max_length=RULES_MAX)
    """What has to be there, and what must not, for this adapter: `package NAME >=1,<2`, `farsite >=0.1`."""
    access: Access
    services: frozenset[Service]
    parameters: Mapping[str, str] = {}
    """Values that an operator may set per function, with their defaults."""
    places: tuple[Place, ...] = Field(min_length=1, max_length=16)
    check: str = ""
    """Checks the candidates, which are in the working directory under the names of their places."""
    activate: str = ""
    playbook: Playbook | None = None
    """Of method `ansible`."""
    module: str = ""
    """Of method `rest`: the Python module with the product's half of the adapter, in an installed package."""
    marks: Marks | None = None
    """Of method `netconf`."""
    lists: Mapping[str, str] = {}
    """Of method `netconf`: the keys of lists in what `get` answers, for health and metrics."""
    takes_back: TakesBack = TakesBack.ITSELF
    confirm_least_s: float = 1.0
    """The shortest time that a change can stand unconfirmed: some devices count in minutes."""
    version: str = ""
    health: tuple[HealthProbe, ...] = ()
    metrics: tuple[Metric, ...] = ()
    errors: tuple[Meaning, ...] = ()
    secrets: tuple[str, ...] = ()
    """Patterns of what nobody may read in the places' texts, with the group `secret`."""
    software: Software | None = None
    """Of method `shell`; None: the software cannot be changed inside the function."""
    licences: Licensing | None = None
    """Those of the product inside the function; None: it has none, or does not tell them. (`licence` is that
    of the adapter.)"""
    atomicity: Atomicity = Atomicity.GUARDED

    @field_validator("parameters", mode="before")
    @classmethod
    def _texts(cls, given: object) -> object:
        """Numbers are written without quotes."""
        if not isinstance(given, dict):
            return given
        return {key: str(value) if isinstance(value, int) else value for key, value in given.items()}  # pyright: ignore[reportUnknownVariableType]

    @field_validator("requires", "conflicts")
    @classmethod
    def _rules(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_told(lambda text: str(read_rule(text)), one) for one in given)

    @field_validator("licence")
    @classmethod
    def _spdx(cls, given: str) -> str:
        return _told(read_licence, given) if given else ""

    @model_validator(mode="after")
    def _has_what_its_method_needs(self) -> Self:
        if self.access.method in ("rest", "function"):
            if not self.module:
                raise ValueError(f"method {self.access.method} needs a module")
            if self.software is not None:
                raise ValueError("software is a section of method shell")
            if self.licences is not None and (self.licences.command or self.licences.pattern):
                raise ValueError(
                    f"licences of method {self.access.method} have no command and pattern: the module asks"
                )
            return self
        if self.licences is not None and not (self.licences.command and self.licences.pattern):
            raise ValueError("licences need a command and a pattern")
        if self.access.method == "netconf":
            if self.marks is None:
                raise ValueError("method netconf needs marks")
            lacking = [one.name for one in self.places if one.data is None or not one.template]
            if lacking:
                raise ValueError(f"method netconf needs data and a template for the place {lacking[0]}")
            names = {one.name for one in self.places}
            named = {other for one in self.places if one.data for other in one.data.owned_by.values()}
            if named - names:
                raise ValueError(f"owned_by names the place {min(named - names)}, which there is not")
            return self
        method, is_by_playbook = self.access.method, self.access.method == "ansible"
        if is_by_playbook and self.playbook is None:
            raise ValueError("method ansible needs a playbook")
        if not self.activate:
            raise ValueError(f"method {method} needs activate")
        lacking = [one.name for one in self.places if not (one.path and (one.template or is_by_playbook))]
        if lacking:
            what = "a path" if is_by_playbook else "a path and a template"
            raise ValueError(f"method {method} needs {what} for the place {lacking[0]}")
        return self

    @property
    def has_code(self) -> bool:
        """Whether something of it is executed on the host that manages the device: it comes from whoever
        operates that host, and in no bundle."""
        return bool(self.module) or self.access.method == "ansible"

    @property
    def statement(self) -> Statement:
        """What the adapter says of itself for the catalogue."""
        return Statement(
            tags=tuple(sorted(set(self.tags))),
            licence=self.licence,
            requires=tuple(read_rule(one) for one in self.requires),
            conflicts=tuple(read_rule(one) for one in self.conflicts),
        )

    @property
    def verbs(self) -> frozenset[Verb]:
        is_by_module = self.access.method in ("rest", "function")
        having = (
            (Verb.HEALTH, is_by_module or self.health),
            (Verb.METRICS, is_by_module or self.metrics or self.licences),
            (Verb.UPGRADE, self.software),
            (Verb.LICENCE, self.licences),
        )
        # Whatever can be fetched can be kept and put back.
        return frozenset({Verb.BACKUP, Verb.RESTORE, *(verb for verb, has in having if has)})


def _told(read: Callable[[str], str], text: str) -> str:
    """What was read; a refusal in the words that pydantic gathers."""
    try:
        return read(text)
    except Invalid as refused:
        raise ValueError(refused.detail.rstrip(".")) from refused


def plain(value: str) -> str:
    """An address, with or without prefix length, as every device prints it: `2001:db8::1` for
    `2001:0db8:0:0::1`. The filter `plain` of templates."""
    return str(ip_interface(value)) if "/" in value else str(ip_address(value))


def key_fingerprint(line: str) -> str:
    """Of a public key as OpenSSH writes it: `SHA256:...`. The filter `fingerprint` of templates.

    Raises:
        Invalid: it is no such key.
    """
    try:
        kind, data, *_ = line.split()
        content = base64.b64decode(data, validate=True)
        if content[4 : 4 + int.from_bytes(content[:4])] != kind.encode():
            raise ValueError
    except ValueError as error:
        raise Invalid(
            f'"{line[:40]}" is no public key of OpenSSH: TYPE DATA COMMENT, as in id_ed25519.pub.'
        ) from error
    return "SHA256:" + base64.b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


@cache
def _shared() -> Mapping[str, str]:
    """Templates that every folder may include, as `farsite/NAME`."""
    directory = resources.files("farsite.vnfs").joinpath("shared")
    return {f"farsite/{one.name}": one.read_text(encoding="utf-8") for one in directory.iterdir()}


class Folder:
    """A dictionary with its templates, read once."""

    def __init__(
        self,
        dictionary: Dictionary,
        templates: Mapping[str, str],
        where: str,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """`files` are all files of the folder, where something else than templates is needed of it."""
        self.dictionary = dictionary
        self.where = where
        self.files: Mapping[str, bytes] = files or {}
        self._environment = ImmutableSandboxedEnvironment(
            loader=DictLoader({**_shared(), **templates}),
            undefined=StrictUndefined,
            autoescape=False,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        # Jinja leaves the types of filters and globals open, hence what is silenced below.
        self._environment.filters["plain"] = plain  # pyright: ignore[reportUnknownMemberType]
        self._environment.filters["fingerprint"] = key_fingerprint  # pyright: ignore[reportUnknownMemberType]
        self._environment.globals["cannot"] = self._cannot  # pyright: ignore[reportUnknownMemberType]

    @cached_property
    def about(self) -> About:
        of = self.dictionary
        return About(
            name=of.name,
            vendor=of.vendor,
            product=of.product,
            versions=of.versions,
            tried=of.tried,
            method=of.access.method,
            services=of.services,
            verbs=of.verbs,
            atomicity=of.atomicity,
            evidence=of.evidence,
            description=of.description,
        )

    def parameters(self, given: Mapping[str, str]) -> Mapping[str, str]:
        """The parameters with an operator's values over the defaults.

        Raises:
            Invalid: the adapter has no such parameter.
        """
        unknown = sorted(set(given) - set(self.dictionary.parameters))
        if unknown:
            raise Invalid(
                f"Adapter {self.dictionary.name} has no parameter {', '.join(unknown)}. "
                f"It has: {', '.join(sorted(self.dictionary.parameters)) or 'none'}."
            )
        return {**self.dictionary.parameters, **given}

    def _cannot(self, words: str) -> NoReturn:
        """For templates: the document says what this product cannot do."""
        raise NotSupported(f"{self.dictionary.product} (adapter {self.dictionary.name}) cannot take {words}.")

    def mark(self, which: str, value: str, parameters: Mapping[str, str]) -> str:
        """The text of one of the objects that keep what became of the last change.

        Raises:
            Invalid: the dictionary is wrong there.
        """
        assert self.dictionary.marks is not None
        try:
            template = self._environment.get_template(self.dictionary.marks.template)
            return template.render(which=which, value=value, parameters=parameters)
        except TemplateError as error:
            raise Invalid(f"{self.where}/{self.dictionary.marks.template}: {error}.") from error

    def command(self, text: str, parameters: Mapping[str, str]) -> str:
        """A command of the dictionary with its parameters put in.

        Raises:
            Invalid: the dictionary is wrong there.
        """
        try:
            return self._environment.from_string(text).render(**parameters)
        except TemplateError as error:
            raise Invalid(f"{self.where}: {text!r} cannot be rendered: {error}.") from error

    def places_of(self, document: Configuration) -> Sequence[Place]:
        """The places that a document speaks of; the others are none of its business."""
        return [
            place
            for place in self.dictionary.places
            if document.native.get(place.name)
            or document.services & (place.services or self.dictionary.services)
        ]

    def render(self, wanted: Wanted, parameters: Mapping[str, str]) -> Mapping[str, str]:
        """The text of every place that the document speaks of and that has a template.

        Raises:
            NotSupported: the document speaks of a service that the product has not.
            Invalid: a template cannot render the document, or a secret is not there.
        """
        self.refuse_what_it_has_not(wanted.document)

        def secret(reference: str) -> str:
            name = reference.removeprefix("secret:")
            if name not in wanted.secrets:
                raise Invalid(f'The document refers to the secret "{name}", which does not exist.')
            return wanted.secrets[name]

        texts: dict[str, str] = {}
        for place in self.places_of(wanted.document):
            if not place.template:
                continue
            own = wanted.document.native.get(place.name, "")
            try:
                template = self._environment.get_template(place.template)
                text = template.render(document=wanted.document, parameters=parameters, secret=secret)
                texts[place.name] = text + own + ("\n" if own and not own.endswith("\n") else "")
            except TemplateError as error:
                raise Invalid(
                    f"{self.where}/{place.template} cannot render the document: "
                    f"{error or type(error).__name__}."
                ) from error
        return texts

    def meaning(self, words: str) -> ErrorCode:
        """What words of the device mean."""
        for one in self.dictionary.errors:
            if re.search(one.match, words, re.MULTILINE):
                return one.code
        return ErrorCode.FAILED

    def licences_in(self, text: str, now_s: float) -> Sequence[Licence] | None:
        """The licences that the device's words tell of at POSIX time `now_s`; None: they tell of something
        that is no licence. The dictionary has a section `licences`."""
        section = self.dictionary.licences
        assert section is not None
        words = section.words
        told: list[Licence] = []
        for found in re.finditer(section.pattern, text, re.MULTILINE):
            given = found.groupdict()
            state = (given["state"] or "") if "state" in given else None
            expires = given.get("expires") or ""
            told.append(
                words.licence(given["name"] or "", state=state, expires=expires, said=found[0], now_s=now_s)
            )
        return told if told or not text.strip() else None

    def refuse_what_it_has_not(self, document: Configuration) -> None:
        """Raises:
        NotSupported: the document speaks of a service that the product has not.
        Invalid: it has native text for a place that there is not.
        """
        strange = sorted(document.services - self.dictionary.services)
        if strange:
            raise NotSupported(
                f"{self.dictionary.product} (adapter {self.dictionary.name}) cannot take "
                f"{', '.join(strange)}. It takes: {', '.join(sorted(self.dictionary.services))}."
            )
        places = {place.name for place in self.dictionary.places}
        unknown = sorted(set(document.native) - places)
        if unknown:
            raise Invalid(
                f"native.{unknown[0]}: adapter {self.dictionary.name} has no such place. "
                f"It has: {', '.join(sorted(places))}."
            )


def read(directory: Path) -> Folder:
    """The adapter in a directory.

    Raises:
        Invalid: it is none; names the file, the place in it and what was expected.
    """
    files = [path for path in sorted(directory.iterdir()) if path.is_file()] if directory.is_dir() else []
    if directory / FILE not in files:
        raise Invalid(f"{directory} is no adapter: there is no {FILE} in it.")
    if len(files) > _MOST_FILES or sum(path.stat().st_size for path in files) > _MOST_BYTES:
        raise Invalid(f"{directory} is no adapter: more than {_MOST_FILES} files or {_MOST_BYTES} bytes.")
    dictionary = _read(directory / FILE)
    templates = {path.name: path.read_text(encoding="utf-8") for path in files if path.suffix == ".j2"}
    named = {place.template for place in dictionary.places if place.template}
    if dictionary.marks is not None:
        named.add(dictionary.marks.template)
    lacking = sorted(named - set(templates))
    if lacking:
        raise Invalid(f"{directory / FILE} names the template {lacking[0]}, which is not beside it.")
    if dictionary.playbook is not None and directory / dictionary.playbook.file not in files:
        raise Invalid(
            f"{directory / FILE} names the playbook {dictionary.playbook.file}, which is not beside it."
        )
    _try_patterns(directory / FILE, dictionary)
    # Kept, so that what is run is what was read, and not what lies there by then.
    kept = {path.name: path.read_bytes() for path in files} if dictionary.playbook is not None else {}
    refuse_other_ways({name: content for name, content in kept.items() if name != FILE}, str(directory))
    return Folder(dictionary, templates, str(directory), kept)


def _read(path: Path) -> Dictionary:
    try:
        content: object = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Invalid(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    try:
        return Dictionary.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in one['loc']) or 'the dictionary'}: {one['msg']}"
            for one in error.errors()
        )
        raise Invalid(f"{path}: {faults}.") from error


def _try_patterns(path: Path, dictionary: Dictionary) -> None:
    patterns = [
        *(one.match for one in dictionary.errors),
        *(one.expect for one in dictionary.health),
        *(one.fault for one in dictionary.health),
        *(one.pattern for one in dictionary.metrics),
        *dictionary.secrets,
        *(pattern for one in dictionary.places if one.data for pattern in one.data.only.values()),
        *([dictionary.software.version] if dictionary.software else []),
        *([dictionary.licences.pattern] if dictionary.licences else []),
    ]
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise Invalid(f"{path}: the pattern {pattern!r} cannot be read: {error}.") from error
    for metric in dictionary.metrics:
        if "value" not in re.compile(metric.pattern).groupindex:
            raise Invalid(f"{path}: the pattern of metric {metric.name} has no group named value.")
    if dictionary.software and "version" not in re.compile(dictionary.software.version).groupindex:
        raise Invalid(f"{path}: the pattern software.version has no group named version.")
    licences = dictionary.licences
    if licences and licences.pattern and "name" not in re.compile(licences.pattern).groupindex:
        raise Invalid(f"{path}: the pattern licences.pattern has no group named name.")
    for pattern in dictionary.secrets:
        if "secret" not in re.compile(pattern).groupindex:
            raise Invalid(f"{path}: the pattern {pattern!r} has no group named secret.")
