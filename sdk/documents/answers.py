"""documents.yaml: what persons declare for documents, where no step can know it. Its keys, its template, its reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, get_args

from pydantic import Field, StringConstraints, ValidationError

from sdk.documents.render import FOLDER, SUFFIX
from sdk.errors import InvalidInput
from sdk.files.regular_files import read_shipped
from sdk.lookup import nearest
from sdk.policy import key_lines, parse_yaml
from sdk.records import Declared, Frozen, fault_text, spelled

MOST_CHARACTERS = 4000
MOST_FAULTS = 100  # the nearest key is looked for at each
_Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MOST_CHARACTERS)]
Answer = _Words | None
PEOPLE = "people"
HUB_ID = r"^[A-Za-z0-9][\w.-]*(/[\w.-]+)?$"
_HEAD = """\
# What the documents of this project say beyond its records. Write answers behind the keys, and run `sdk documents`: it
# takes this file in, with an event in the audit log, and prints each answer as the words of a person. A key without an
# answer stays "not recorded". An answer is text on one line, or below >- on several:
#
#   intended: >-
#     Answers to questions of our staff
#     about the bank's own products.
#
# No text of customers belongs here: it would be printed.
"""


class Organization(Frozen):
    """Who answers for the model"""

    provider: Answer = Field(None, description="name of the firm that develops and provides the model")
    funded_by: Answer = Field(None, description="who funded the model")
    shared_by: Answer = Field(None, description="who makes the model available to its users")
    owner: Answer = Field(None, description="person who owns the model and answers for it")
    contact: Answer = Field(None, description="where questions about the model and its documents go")


class AboutModel(Frozen):
    """The model"""

    license: Answer = Field(None, description="licence of the adapter, such as apache-2.0, or a name of your own")
    base_source: Answer = Field(None, description="where the base model comes from, if the project does not know it")
    base_license: Answer = Field(None, description="licence of the base model, if the project does not know it")
    paper: Answer = Field(None, description="paper or report about the model")
    examination: Answer = Field(None, description="what was found on looking into what the model has learned")
    energy: Answer = Field(None, description="energy that training used")
    carbon: Answer = Field(None, description="carbon dioxide that training emitted, and how that was estimated")


class Uses(Frozen):
    """Uses"""

    intended: Answer = Field(None, description="what the model is for: its purpose and the business need behind it")
    downstream: Answer = Field(None, description="uses as a part of something else")
    out_of_scope: Answer = Field(None, description="uses that it is not for, and limits on its use")
    approved: Answer = Field(None, description="uses that were approved, and by whom")
    users: Answer = Field(None, description="who uses it")
    feedback: Answer = Field(None, description="how users report what goes wrong, and what they have reported")


class Risks(Frozen):
    """Limitations and risks"""

    limitations: Answer = Field(None, description="known limitations")
    biases: Answer = Field(None, description="known biases")
    groups: Answer = Field(None, description="persons or groups for whom it does worse, and how that was measured")
    discrimination: Answer = Field(None, description="potentially discriminatory impacts")
    harms: Answer = Field(None, description="risks in its use: to health, safety, fundamental rights, to the firm")
    unintended: Answer = Field(None, description="foreseeable unintended outcomes")
    recommendations: Answer = Field(None, description="what users are recommended to do about all that")


class TheSystem(Frozen):
    """The system that the model is a part of"""

    high_risk: Answer = Field(None, description="is it high-risk (Article 6 of the AI Act), and by which point")
    integration: Answer = Field(None, description="hardware and software outside of it that it works with")
    updates: Answer = Field(None, description="requirements for updates of its software")
    market_forms: Answer = Field(None, description="forms in which it is placed on the market or put into service")
    hardware: Answer = Field(None, description="hardware that it is intended to run on")
    product: Answer = Field(None, description="product of which it is a component")
    user_interface: Answer = Field(None, description="user interface that the deployer gets")
    instructions: Answer = Field(None, description="instructions for use: where they are")
    components: Answer = Field(None, description="how the components of the whole system build on each other")
    assumptions: Answer = Field(None, description="assumptions about the persons or groups that it is used on")
    oversight: Answer = Field(None, description="measures of human oversight (Article 14)")
    interpretation: Answer = Field(None, description="measures that help to interpret its outputs (Article 13(3)(d))")
    planned_changes: Answer = Field(None, description="changes that were determined in advance")
    robustness: Answer = Field(None, description="how robust it is, and how that was tested")
    security: Answer = Field(None, description="cybersecurity measures of the system around the model")
    expected_accuracy: Answer = Field(None, description="overall accuracy expected for the intended purpose")
    metric_reason: Answer = Field(None, description="why the metric that decides is appropriate for this system")
    risk_management: Answer = Field(None, description="the risk management system (Article 9)")
    changes: Answer = Field(None, description="relevant changes through its lifecycle")
    standards: Answer = Field(None, description="harmonised standards that were applied")
    other_solutions: Answer = Field(None, description="solutions that were adopted where no such standard was applied")
    conformity: Answer = Field(None, description="EU declaration of conformity (Article 47): where the copy is")


class TheData(Frozen):
    """The rows"""

    dataset_id: Annotated[str, spelled(HUB_ID, "a name on the hub, as owner/name")] | None = Field(
        None, description="id of the data set on Hugging Face's hub, if it is there; for the model card's metadata"
    )
    purpose: Answer = Field(None, description="what the data set was made for")
    created_by: Answer = Field(None, description="who made it, for whom")
    funded_by: Answer = Field(None, description="who funded it")
    origin: Answer = Field(None, description="where the rows come from, and what they cover")
    sample: Answer = Field(None, description="all that there are, or a sample; how it was drawn")
    relations: Answer = Field(None, description="relations between rows, such as several of one person")
    external: Answer = Field(None, description="is it self-contained, or does it rely on something outside")
    confidential: Answer = Field(None, description="does it hold confidential data")
    offensive: Answer = Field(None, description="does it hold offensive or frightening content")
    subpopulations: Answer = Field(None, description="subpopulations that it identifies")
    sensitive: Answer = Field(None, description="sensitive data in it")
    acquisition: Answer = Field(None, description="how it was acquired and selected: mechanisms, procedures")
    collected_by: Answer = Field(None, description="who collected it, and how they were paid")
    collected_when: Answer = Field(None, description="time in which it was collected")
    ethical_review: Answer = Field(None, description="ethical review: which, with what outcome")
    individuals: Answer = Field(None, description="was it collected from the individuals themselves, or from others")
    notice: Answer = Field(None, description="were the individuals told")
    consent: Answer = Field(None, description="did they consent")
    revocation: Answer = Field(None, description="can they revoke consent, and how")
    impact: Answer = Field(None, description="analysis of the impact on them, such as a DPIA")
    labelling: Answer = Field(None, description="how rows were labelled")
    quality: Answer = Field(None, description="relevance and quality of the data for the model's purpose")
    proxies: Answer = Field(None, description="proxies in it, and adjustments that were made")
    raw_kept: Answer = Field(None, description="is the raw data kept, and where")
    used_by: Answer = Field(None, description="repository that lists what uses it")
    other_tasks: Answer = Field(None, description="other tasks that it could serve")
    future_effects: Answer = Field(None, description="what of its composition may affect future uses")
    unfit_for: Answer = Field(None, description="tasks that it should not be used for")
    recipients: Answer = Field(None, description="third parties that will get it")
    distribution: Answer = Field(None, description="how it is distributed, and when")
    license: Answer = Field(None, description="licence or terms of use of the data set")
    restrictions: Answer = Field(None, description="restrictions by third parties")
    export_controls: Answer = Field(None, description="export controls and other rules on it")
    maintainer: Answer = Field(None, description="who maintains it")
    contact: Answer = Field(None, description="where questions about it go")
    erratum: Answer = Field(None, description="erratum: where it is")
    updates: Answer = Field(None, description="will it be updated")
    retention: Answer = Field(None, description="limits on how long it is kept")
    older_versions: Answer = Field(None, description="are older versions kept")
    contributions: Answer = Field(None, description="can others add to it, and how")


class ModelRisk(Frozen):
    """Model risk management"""

    scope: Answer = Field(None, description="what the firm decided about the scope of SR 26-2")
    materiality: Answer = Field(None, description="materiality: exposure and purpose")
    theory: Answer = Field(None, description="theory and assumptions behind the method")
    implementation_tests: Answer = Field(None, description="tests of the implementation")
    conceptual_review: Answer = Field(None, description="review of design and method by others than the developers")
    benchmarks: Answer = Field(None, description="comparison with other models or benchmarks")
    board: Answer = Field(None, description="oversight by board and senior management")
    inventory: Answer = Field(None, description="entry in the model inventory")
    internal_audit: Answer = Field(None, description="internal audit: what it looked at, and when")
    vendor_diligence: Answer = Field(None, description="due diligence on the base model's vendor")
    vendor_statements: Answer = Field(None, description="what that vendor says of its data and testing")


class Monitoring(Frozen):
    """Monitoring in use"""

    watched: Answer = Field(None, description="what is watched in use, and how often")
    thresholds: Answer = Field(None, description="thresholds, and what follows from them")
    system: Answer = Field(None, description="system to evaluate performance in the post-market phase (Article 72)")
    plan: Answer = Field(None, description="post-market monitoring plan (Article 72(3)): where it is")


class Hipaa(Frozen):
    """HIPAA"""

    covered_entity: Answer = Field(None, description="covered entity")
    actual_knowledge: Answer = Field(None, description="actual knowledge that what remains could identify somebody")
    determination: Answer = Field(None, description="determination that the rows are de-identified: whose, and when")


class Declaration(Frozen):
    """The whole file. A section or key without a value is not answered."""

    organization: Organization | None = None
    model: AboutModel | None = None
    uses: Uses | None = None
    risks: Risks | None = None
    system: TheSystem | None = None
    data: TheData | None = None
    model_risk: ModelRisk | None = None
    monitoring: Monitoring | None = None
    hipaa: Hipaa | None = None
    people: dict[str, Answer] | None = Field(
        None, description="account of a machine, as the audit log names it -> the person whose it is"
    )


SECTIONS: dict[str, type[Frozen]] = {
    name: get_args(field.annotation)[0] for name, field in Declaration.model_fields.items() if name != PEOPLE
}
KEYS = [f"{name}.{key}" for name, kind in SECTIONS.items() for key in kind.model_fields]


def parse_answers(data: bytes, path: Path) -> Declared:
    """Read documents.yaml from its bytes. InvalidInput lists every fault with its line, and the nearest known key."""
    try:
        said = Declaration.model_validate(parse_yaml(data, path) or {})
    except ValidationError as error:
        lines, errors = key_lines(data, path), error.errors(include_input=False)
        faults = sorted(_fault(item["type"], item["loc"], fault_text(item), lines) for item in errors[:MOST_FAULTS])
        more = [f"and {len(errors) - MOST_FAULTS:,} more"] if len(errors) > MOST_FAULTS else []
        raise InvalidInput(f"{path} is malformed.", [*(fault for _, fault in faults), *more]) from None
    return Declared(
        answers={
            f"{name}.{key}": answer
            for name in SECTIONS
            for key, answer in getattr(said, name) or ()
            if answer is not None
        },
        people={account: person for account, person in (said.people or {}).items() if person is not None},
    )


def _fault(
    kind: str, place: tuple[int | str, ...], message: str, lines: Mapping[tuple[str, ...], int]
) -> tuple[int, str]:
    """Return a fault's line, and what is wrong there; never the value."""
    path = tuple(map(str, place))
    while path and path not in lines:  # what pydantic adds for the parts of a type
        path = path[:-1]
    name, line = ".".join(path)[:100], lines.get(path, 1)
    if kind == "extra_forbidden":
        near = nearest(name, [*SECTIONS, PEOPLE, *KEYS])[:1]
        message = "no such key" + "".join(f"; did you mean {each}?" for each in near)
    elif kind == "string_type":
        message = "an answer is text; put yes, no, numbers and dates into quotes"
    elif kind in ("model_type", "dict_type"):
        message = "its keys belong below it, indented"
    return line, f"line {line}, {name or 'the file'}: {message}"


def template() -> bytes:
    """Write the file with every key, what each asks for and the documents that print it, and no answer."""
    paths = [FOLDER / f"_head{SUFFIX}", *sorted(FOLDER.glob(f"[!_]*{SUFFIX}"))]
    texts = {path.name.removesuffix(SUFFIX): read_shipped(path).decode() for path in paths}
    titles = {"_head": "every document"}
    lines = [_HEAD]
    for name, kind in SECTIONS.items():
        lines.append(f"\n# {kind.__doc__}\n{name}:")
        for key, field in kind.model_fields.items():
            where = [titles.get(of, of) for of, text in texts.items() if f"declared.{name}.{key} " in text]
            lines.append(f"  # {field.description} ({', '.join(where) or 'model-card, metadata'})\n  {key}:")
    description = Declaration.model_fields[PEOPLE].description
    lines.append(f"\n# {description}, such as  tt1: Theo Trainer\n{PEOPLE}:")
    return ("\n".join(lines) + "\n").encode()
