"""How an MCP server is named in the settings. Light: the settings of the worker have it too."""

from pydantic import BaseModel, ConfigDict, Field, model_validator


class McpServer(BaseModel):
    """An MCP server whose tools the graphs may use: a command, or a URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,40}$", description="Prefix of its tools' names.")
    command: tuple[str, ...] = Field(
        default=(), description="Program and arguments (stdio transport)."
    )
    env: dict[str, str] = Field(default={}, description="Environment of that program.")
    url: str | None = Field(default=None, description="Address (streamable HTTP transport).")
    side_effects: bool = Field(
        default=True, description="Its tools wait until the caller's turn is committed."
    )
    timeout_s: float = Field(default=20.0, gt=0, description="Seconds that one call may take.")

    @model_validator(mode="after")
    def _has_one_transport(self) -> "McpServer":
        if bool(self.command) == bool(self.url):
            raise ValueError(f"MCP server {self.name!r} needs either a command or a url")
        return self
