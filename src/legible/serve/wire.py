"""Requests and answers of the HTTP API as types: every field has a size, and an unknown field is an error."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from legible.reading.trusted import sampling_temperature

TEXT = 20_000  # characters of a text or of all messages together
POSITIONS = 2048
STEERED = 20_000  # tokens written for one steering request
COLDEST = 0.01  # above 0; logits divided by less overflow
ROWS = 4096  # explanations of one request: positions times samples


def _warm(temperature: float) -> float:
    if 0 < temperature < COLDEST:
        raise ValueError(f"expected 0, or at least {COLDEST}")
    return temperature


Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False), AfterValidator(_warm)]
Text = Annotated[str, Field(min_length=1, max_length=TEXT)]
SourceId = Annotated[str, Field(min_length=1, max_length=100)]
Position = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e30, le=1e30)]
Vector = Annotated[list[Number], Field(min_length=1, max_length=65_536)]
Strength = Annotated[float, Field(ge=-64, le=64, allow_inf_nan=False)]
Words = Annotated[str, Field(min_length=1, max_length=4000)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="null")


class Message(_Request):
    """One turn of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=TEXT)


class Prompted(_Request):
    """A source and what its target reads: a text, or a chat rendered with the target's template."""

    source: SourceId | None = Field(None, description="Id of a loaded checkpoint; absent: the first.")
    text: Text | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=64)] | None = None

    @model_validator(mode="after")
    def _one(self) -> "Prompted":
        if (self.text is None) == (self.messages is None):
            raise ValueError("give either `text` or `messages`")
        if self.messages is not None and sum(len(message.content) for message in self.messages) > TEXT:
            raise ValueError(f"the messages hold more than {TEXT} characters")
        return self

    @property
    def turns(self) -> list[tuple[str, str]] | None:
        """The messages as (role, content)."""
        return None if self.messages is None else [(message.role, message.content) for message in self.messages]


class TokenizeRequest(Prompted):
    """Which tokens a text has."""

    reply: bool = Field(False, description="Open the assistant's turn after the messages.")


class Sampling(_Request):
    """How explanations are written."""

    samples: int = Field(1, ge=1, le=16, description="Explanations a token; the best-scored one is shown.")
    temperature: Temperature | None = Field(None, description="Absent: 0 for one sample, 1 for more.")
    seed: int = Field(0, ge=0, le=2**32 - 1)
    max_tokens: int | None = Field(None, ge=1, le=1024, description="Longest explanation; absent: the source's own.")

    @property
    def heat(self) -> float:
        """The temperature that holds."""
        return sampling_temperature(self.samples, self.temperature)


class ReadRequest(Prompted, Sampling):
    """Explain tokens of a text."""

    positions: (
        Annotated[str, Field(max_length=2000)] | Annotated[list[Position], Field(min_length=1, max_length=POSITIONS)]
    ) = Field("all", description="'all', '-1', '3,5', a slice such as '4:9', or a list of indices.")
    trust: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="Show claims from this p_true on.")
    claims: bool = Field(True, description="False: explanations and scores alone, at a lower cost.")
    stream: bool = Field(False, description="Answer with server-sent events, a frame as each token is finished.")


class ExplainRequest(Sampling):
    """Explain raw vectors."""

    source: SourceId | None = None
    vectors: Annotated[list[Vector], Field(min_length=1, max_length=64)]
    stream: bool = False


class ScoreRequest(_Request):
    """How well texts give a vector back: the vector itself, or the activation at one token of a text."""

    source: SourceId | None = None
    explanations: Annotated[list[Words], Field(min_length=1, max_length=64)]
    vector: Vector | None = None
    text: Text | None = None
    pos: Position | None = None

    @model_validator(mode="after")
    def _one(self) -> "ScoreRequest":
        if (self.vector is None) == (self.text is None) or (self.text is None) != (self.pos is None):
            raise ValueError("give either `vector`, or `text` and `pos`")
        return self


class Edit(_Request):
    """Words of the explanation to replace; the first place where they stand."""

    find: Annotated[str, Field(min_length=1, max_length=1000)]
    replace: Annotated[str, Field(max_length=1000)]


class SteerRequest(_Request):
    """Edit the words of an explanation and see the target's continuation change."""

    source: SourceId | None = None
    text: Text
    pos: Position
    explanation: Words | None = Field(None, description="The explanation that is edited; absent: the reading's own.")
    edits: Annotated[list[Edit], Field(min_length=1, max_length=16)] | None = None
    replacement: Words | None = Field(None, description="The whole edited explanation, in place of `edits`.")
    strengths: Annotated[list[Strength], Field(min_length=1, max_length=9)] | None = Field(
        None, description="Lengths of the added vector over the activation's; absent: a range, one of it proposed."
    )
    mode: Literal["later", "one", "patch"] = Field(
        "later", description="Add at the token and all later ones, at it alone, or move its activation."
    )
    controls: bool = Field(True, description="Also a random and an unrelated-edit vector of the same length.")
    samples: int = Field(1, ge=1, le=16)
    max_tokens: int = Field(60, ge=1, le=256)
    temperature: Temperature = 0.0
    seed: int = Field(0, ge=0, le=2**32 - 1)

    @model_validator(mode="after")
    def _one(self) -> "SteerRequest":
        if (self.edits is None) == (self.replacement is None):
            raise ValueError("give either `edits` or `replacement`")
        rows = len(self.strengths or range(9)) * self.samples * (3 if self.controls else 1)
        if rows * self.max_tokens > STEERED:
            raise ValueError(f"{rows} continuations of {self.max_tokens} tokens are more than {STEERED} tokens")
        return self


class CompleteRequest(Prompted):
    """What the target says next."""

    max_tokens: int = Field(64, ge=1, le=512)
    temperature: Temperature = 0.7
    seed: int = Field(0, ge=0, le=2**32 - 1)
    stream: bool = False


class JobRequest(Sampling):
    """Read many texts in the background."""

    kind: Literal["read"] = "read"
    source: SourceId | None = None
    texts: Annotated[list[Text], Field(min_length=1, max_length=2000)]
    positions: Annotated[str, Field(max_length=2000)] = "all"
    trust: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    claims: bool = True


class SessionRequest(_Request):
    """The code of the address that opened the browser."""

    code: Annotated[str, Field(min_length=1, max_length=200)]


class NeuronpediaPrompt(BaseModel):
    """What their clients send; fields we do not know are ignored, as there. `text` goes before `messages`."""

    model_config = ConfigDict(extra="ignore")
    modelId: SourceId | None = None
    nlaSourceId: SourceId | None = None
    text: Annotated[str, Field(max_length=TEXT)] | None = None
    messages: Annotated[list[Message], Field(max_length=64)] | None = None
    temperature: Temperature = 0.7
    stream: bool = False


class NeuronpediaExplain(NeuronpediaPrompt):
    """`POST /api/nla/explain`."""

    positions: Annotated[list[Annotated[int, Field(ge=0, le=1_000_000)]], Field(min_length=1, max_length=POSITIONS)]


class NeuronpediaCompletion(NeuronpediaPrompt):
    """`POST /api/nla/completion`; 0 tokens only tokenizes."""

    completion_tokens: int = Field(0, ge=0, le=1_000_000, description="At most 512 are written.")


class Error(BaseModel):
    """Every error: plain text."""

    error: str


class Answer(BaseModel):
    """An answer; its keys stand in docs/api.md."""

    model_config = ConfigDict(extra="allow")


class SourceAnswer(Answer):
    """A loaded checkpoint."""

    id: str
    name: str
    target: str
    layer: int
    n_layers: int
    d_model: int
    context: int
    max_tokens: int
    variance: float | None
    language: str | None
    reconstructor: bool
    calibrator: bool
    chat: bool
    families: bool
    metrics: dict[str, Any]
    reports: list[str]


class SourcesAnswer(Answer):
    """`GET /api/v1/sources`."""

    sources: list[SourceAnswer]


class TokenAnswer(Answer):
    """A token and its place in the text."""

    pos: int
    token: str
    token_id: int
    start: int
    end: int
    special: bool
    template: bool


class TokenizeAnswer(Answer):
    """`POST /api/v1/tokenize`."""

    source: str
    text: str
    tokens: list[TokenAnswer]
    prompt_length: int
    context: int


class ReadAnswer(Answer):
    """`POST /api/v1/read` without streaming; a reading is what `legible read --json` prints."""

    source: str
    layer: int
    text: str
    prompt_length: int
    readings: list[dict[str, Any]]
