"""An environment of Harbor's by Docker's plain command line: its own asks for `docker compose`, which is not here."""

import asyncio
import shlex
import uuid
from pathlib import Path
from typing import Any

from harbor.environments.base import BaseEnvironment, ExecResult
from harbor.environments.capabilities import EnvironmentCapabilities, EnvironmentResourceCapabilities

LOGS = "/logs/agent /logs/verifier /logs/artifacts"


class DockerCli(BaseEnvironment):
    """A container of the image that the definition's Dockerfile makes, without a network."""

    capabilities = EnvironmentCapabilities(disable_internet=True)

    @staticmethod
    def type() -> str:
        return "docker-cli"

    @classmethod
    def resource_capabilities(cls) -> EnvironmentResourceCapabilities:
        return EnvironmentResourceCapabilities(memory_limit=True, cpu_limit=True)

    def _validate_definition(self) -> None:
        assert (self.environment_dir / "Dockerfile").is_file()
        assert self._network_disabled, "these tasks have no network"

    async def start(self, force_build: bool) -> None:
        self._name = f"harbor-{uuid.uuid4().hex[:12]}"
        await self._docker("build", "--quiet", "--network", "none", "--tag", self._name, str(self.environment_dir))
        limits = ["--memory", f"{self.task_env_config.memory_mb}m", "--cpus", str(self.task_env_config.cpus)]
        run = ["run", "--detach", "--init", "--network", "none", *limits, "--name", self._name, self._name]
        await self._docker(*run, "sleep", "infinity")
        await self.exec(f"mkdir -p {LOGS} && chmod 777 {LOGS}", user="root")

    async def stop(self, delete: bool) -> None:
        await self._docker("rm", "--force", self._name)
        await self._docker("image", "rm", "--force", self._name)

    async def upload_file(self, source_path: Path | str, target_path: str) -> None:
        await self._docker("cp", str(source_path), f"{self._name}:{target_path}")

    async def upload_dir(self, source_dir: Path | str, target_dir: str) -> None:
        await self.exec(f"mkdir -p {shlex.quote(target_dir)}", user="root")
        await self._docker("cp", f"{source_dir}/.", f"{self._name}:{target_dir}")

    async def download_file(self, source_path: str, target_path: Path | str) -> None:
        await self._docker("cp", f"{self._name}:{source_path}", str(target_path))

    async def download_dir(self, source_dir: str, target_dir: Path | str) -> None:
        Path(target_dir).mkdir(parents=True, exist_ok=True)
        await self._docker("cp", f"{self._name}:{source_dir}/.", str(target_dir))

    async def exec(
        self,
        command: str,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        timeout_sec: int | None = None,
        user: str | int | None = None,
    ) -> ExecResult:
        options = [f"--env={key}={value}" for key, value in (self._merge_env(env) or {}).items()]
        who = self._resolve_user(user)
        options += [f"--user={0 if who == 'root' else who}"] if who is not None else []  # the image has no names
        options += [f"--workdir={place}"] if (place := cwd or self.task_env_config.workdir) else []
        code, said = await self._run("exec", *options, self._name, "bash", "-c", command)
        return ExecResult(stdout=said, stderr="", return_code=code)

    async def _docker(self, *words: str) -> None:
        code, said = await self._run(*words)
        if code:
            raise RuntimeError(f"docker {shlex.join(words)}: {said}")

    async def _run(self, *words: str) -> tuple[Any, str]:
        pipe, out = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
        process = await asyncio.create_subprocess_exec("docker", *words, stdout=pipe, stderr=out)
        said, _ = await process.communicate()
        return process.returncode, said.decode(errors="replace")
