"""Literature: what is found and read, by two services that a local server speaks for, and in a folder."""

import json
import shutil
import subprocess
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from literature import Literature, pdf, record

from mlgym.episode import run_episode
from mlgym.errors import SourceError, UsageError
from mlgym.papers import WINDOW, open_papers
from mlgym.papers.text import clean
from mlgym.records import Action, Brief, EpisodeSpec, Limits, Observation
from mlgym.store import Episode, episode_folder
from mlgym.tools import schema, toolset
from mlgym.tools.papers import search_papers

HERE = "tests.test_papers" if __name__.startswith("tests.") else "test_papers"
GUESS = str(Path(__file__).parent.parent / "examples" / "guess")
HENS = [
    record(1, "Deep Hens & Foxes", arxiv="2502.14499", abstract="We teach hens. " * 60),
    record(2, "Hens of the North", doi="10.1145/3292500.3330701"),
    record(3, "Hens at Sea", pdf="https://arxiv.org/pdf/1801.00001v2.pdf"),
    record(4, "Hens Elsewhere", pdf="https://files.example.org/hens.pdf"),
]
DEEP = pdf("Hens are deep.", "Foxes are not.")
PDFS = {"2502.14499": DEEP, "2502.14499v1": DEEP, "1801.00001v2": pdf("The sea has no hens.")}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLGYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MLGYM_OFFLINE", raising=False)


@pytest.fixture
def server() -> Iterator[Literature]:
    with Literature(HENS, PDFS) as literature:
        yield literature


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of papers of one's own."""
    mine = tmp_path / "mine"
    (mine / "old").mkdir(parents=True)
    (mine / "old" / "foxes.pdf").write_bytes(pdf("A Theory of Foxes", "Foxes eat hens."))
    (mine / "notes.md").write_text("# On Geese\n\nGeese swim.\n")
    (mine / "long.txt").write_text("A Long Paper\n" + "".join(f"line {number}\n" for number in range(3000)))
    records = [HENS[0], {"id": "ducks", "title": "Ducks", "authors": ["D. Duck"], "text": "Ducks swim\x1b[31m too."}]
    (mine / "more.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    (mine / "sheet.csv").write_text("no paper")
    (mine / ".hidden.md").write_text("# Hidden geese\n")
    (mine / "link.txt").symlink_to("/etc/passwd")
    return mine


def test_both_services_are_searched_and_each_paper_is_told_once(server: Literature) -> None:
    found = server.open().search("hens")
    head, *rest = found.splitlines()
    assert head == "arxiv, 1 to 1 of 1:"
    assert rest[0] == "[2502.14499v1] Deep Hens & Foxes"
    assert rest[1] == "  A. Hen, B. Fox. cs.CL. 2025"
    assert len(rest[2]) < 410 and rest[2].endswith("…")
    assert "semantic-scholar, 1 to 4 of 4:\n[2502.14499] is listed above\n[s2:" in found
    assert "[1801.00001v2] Hens at Sea\n  A. Hen, B. Fox. Journal of Hens. 2025\n  All of hens at sea." in found


def test_one_source_is_searched_on_request_and_a_list_goes_on(server: Literature) -> None:
    papers = server.open()
    first = papers.search("hens", most=2, source="semantic-scholar")
    assert first.splitlines()[0] == "semantic-scholar, 1 to 2 of 4; more with start=2:"
    assert papers.search("hens", most=2, start=2, source="semantic-scholar").startswith(
        "semantic-scholar, 3 to 4 of 4:"
    )
    assert papers.search("hens", start=4, source="semantic-scholar") == "semantic-scholar: nothing more."
    assert papers.search("quantum hens", source="arxiv") == "arxiv: nothing found."
    with pytest.raises(SourceError, match="'local' is not among the sources of this episode; they are arxiv, semantic"):
        papers.search("hens", source="local")
    with pytest.raises(SourceError, match="at least one word"):
        papers.search(" ?! ")


def test_arxiv_is_asked_for_words_only(server: Literature) -> None:
    server.open("arxiv").search('hens" OR all:foxes AND (x)\n&start=5')
    assert server.requests[0][0] == (
        "/api/query?search_query=all%3Ahens+AND+all%3Aor+AND+all%3Aall+AND+all%3Afoxes+AND+all%3Aand+AND+all%3Ax+AND+"
        "all%3Astart+AND+all%3A5&start=0&max_results=5"
    )


@pytest.mark.parametrize("id", ["2502.14499", "arxiv:2502.14499", "doi:10.48550/arXiv.2502.14499", f"s2:{1:040x}"])
def test_a_paper_is_read_by_its_id(server: Literature, id: str) -> None:
    text = server.open().read(id)
    assert text.splitlines()[0].startswith(f"[{id}, characters 0 to ")
    assert text.splitlines()[1:] == ["[page 1]", "Hens are deep.", "", "[page 2]", "Foxes are not."]


def test_a_paper_whose_pdf_lies_on_arxiv_is_read_there(server: Literature) -> None:
    assert "The sea has no hens." in server.open("semantic-scholar").read(f"s2:{3:040x}")


@pytest.mark.parametrize("id", ["DOI:10.1145/3292500.3330701", f"s2:{4:040x}"])
def test_what_lies_elsewhere_is_not_fetched(server: Literature, id: str) -> None:
    text = server.open().read(id)
    assert "] Hens" in text and "Its full text cannot be had here" in text
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "id",
    [
        "../../etc/passwd",
        "local:../../etc/passwd",
        "local:mine/../../cache",
        "/etc/passwd",
        "https://arxiv.org/pdf/2502.14499",
        "2502.14499/../../api/query",
        "2502.14499?x",
        "DOI:10.1145/../../../author/search",
        "DOI:10.1145/x?fields=y",
        "s2:1/../../x",
        "",
    ],
)
def test_what_is_no_id_is_refused_and_nothing_is_asked(server: Literature, folder: Path, id: str) -> None:
    with pytest.raises(SourceError, match=r"no id of a paper|There is no paper"):
        server.open(f"arxiv,semantic-scholar,{folder}").read(id)
    assert not server.requests


def test_a_folder_is_searched_and_read(folder: Path) -> None:
    papers = open_papers(f" {folder} ,")
    found = papers.search("foxes hens")
    assert found.splitlines()[0] == "local, 1 to 2 of 2:"
    assert "[local:mine/old/foxes.pdf] A Theory of Foxes\n  [page 1] A Theory of Foxes [page 2] Foxes eat" in found
    assert f"[local:mine/{1:040x}] Deep Hens & Foxes\n  A. Hen, B. Fox. Journal of Hens. 2025\n  We teach" in found
    assert "Foxes eat hens." in papers.read("local:mine/old/foxes.pdf")
    assert papers.read("local:mine/ducks").endswith("]\nDucks swim\N{REPLACEMENT CHARACTER}[31m too.")
    assert "We teach hens. We" in papers.read(f"local:mine/{1:040x}")
    assert papers.search("hidden root") == "local: nothing found."
    with pytest.raises(SourceError, match=r"There is no paper 'local:mine/link\.txt'"):
        papers.read("local:mine/link.txt")
    with pytest.raises(SourceError, match="No service is among the sources"):
        papers.read("2502.14499")


def test_odd_names_are_found_by_their_ids(tmp_path: Path) -> None:
    (tmp_path / "a \n\x1b b.TXT").write_text("Geese fly.")
    (tmp_path / "BIG.JSONL").write_text('\n{"title": "Geese\\nat sea"}\n')
    papers = open_papers(f"{tmp_path}/")
    ids = [line[1:].partition("]")[0] for line in papers.search("geese").splitlines() if line.startswith("[")]
    assert sorted(ids) == [f"local:{tmp_path.name}/BIG.JSONL:2", f"local:{tmp_path.name}/a � b.TXT"]
    assert ["Geese" in papers.read(id) for id in ids] == [True, True]


def test_a_long_paper_is_read_in_windows(folder: Path) -> None:
    papers = open_papers(str(folder))
    text, start = "", 0
    while True:
        window = papers.read("local:mine/long.txt", start)
        head, _, rest = window.partition("\n")
        assert head.startswith(f"[local:mine/long.txt, characters {start} to ")
        text += rest[:WINDOW]
        if "more characters: read on with start=" not in rest:
            break
        start = int(rest.rpartition("=")[2].rstrip("]"))
    assert text == (folder / "long.txt").read_text()
    with pytest.raises(SourceError, match="there is nothing from 99999 on"):
        papers.read("local:mine/long.txt", 99999)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("arxvi", "'arxvi' is no source of papers"),
        ("/nowhere/at/all", "is no source of papers"),
        (" , ", "No source of papers is named"),
        ("{folder}/old/empty", "has no papers"),
        ("{folder},{folder}/old/mine", "Two folders of papers are called mine"),
        ("{folder}/broken", r"broken.jsonl, line 2, is no record of a paper"),
    ],
)
def test_sources_that_are_none_end_in_a_sentence(folder: Path, text: str, why: str) -> None:
    (folder / "old" / "empty").mkdir()
    (folder / "old" / "mine").mkdir()
    (folder / "old" / "mine" / "a.txt").write_text("A")
    (folder / "broken").mkdir()
    (folder / "broken" / "broken.jsonl").write_text('{"title": "A"}\n[1]\n')
    if "broken" not in text:
        (folder / "broken" / "broken.jsonl").unlink()
    with pytest.raises(UsageError, match=why):
        open_papers(text.format(folder=folder))


def test_without_the_package_it_is_said_before_the_episode(folder: Path) -> None:
    code = "import sys; sys.modules['pypdf'] = None; from mlgym.papers import open_papers; open_papers(sys.argv[1])"
    for text in ("arxiv", str(folder)):
        ran = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True)
        assert "takes the package pypdf: pip install 'mlgym-env[papers]'" in ran.stderr.splitlines()[-1]
    (folder / "old" / "foxes.pdf").unlink()
    assert subprocess.run([sys.executable, "-c", code, str(folder)]).returncode == 0


def test_hidden_signs_are_taken_out() -> None:
    assert clean("a\x00b\x1b[2Jc\u202ed\u200be\U000e0041f\r\ng\x0ch\ti\ue000\ud800ﬁ x²\u2028") == (
        "a�b�[2Jcdef\ng\nh\ti��fi x² "
    )


def test_the_tools_are_there_only_when_they_are_on() -> None:
    assert not {"search_papers", "read_paper"} & set(toolset("modern"))
    described = schema(search_papers)["function"]["parameters"]["properties"]
    assert described["source"]["enum"] == ["arxiv", "semantic-scholar", "local"]
    assert {"search_papers", "read_paper"} <= set(toolset("modern", papers=True))


def test_an_episode_reads_what_was_fetched_before_and_is_resumed_without_any_of_it(
    server: Literature, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    papers = server.open("arxiv")
    papers.search("deep hens")
    papers.read("2502.14499v1")
    server.stop()
    monkeypatch.setenv("MLGYM_OFFLINE", "1")
    made = EpisodeSpec(
        task=GUESS, agent=f"{HERE}:reader", sandbox="local", limits=Limits(steps=9), papers=f"arxiv,{folder}"
    )
    place = episode_folder(tmp_path / "run", made)
    run_episode(made, place)
    seen = [step.observation for step in Episode.read(place).steps()]
    assert "[2502.14499v1] Deep Hens & Foxes" in seen[0].text and "[local:mine/old/foxes.pdf]" in seen[0].text
    assert "Hens are deep." in seen[1].text
    assert (seen[2].status, seen[2].text) == ("error", "MLGYM_OFFLINE is set, and arxiv was not asked this before.")
    assert seen[3].status == "format" and "'arxiv' or 'semantic-scholar' or 'local' for `source`" in seen[3].text
    assert seen[4].status == "ok" and seen[4].text.strip() == "no"
    shutil.rmtree(tmp_path / "cache" / "papers")
    (place / "result.json").unlink()
    recorded = (place / "steps.jsonl").read_bytes().splitlines(keepends=True)
    (place / "steps.jsonl").write_bytes(b"".join(recorded[:4]))
    run_episode(made, place)
    assert [step.observation.text for step in Episode.read(place).steps()] == [each.text for each in seen]


def reader(brief: Brief, model: object) -> Generator[Action, Observation, None]:
    """Searches, reads, asks for what there is not, and looks for traces in its sandbox."""
    yield Action(tool="search_papers", args={"query": "deep hens"})
    yield Action(tool="read_paper", args={"id": "2502.14499v1"})
    yield Action(tool="read_paper", args={"id": "2502.99999"})
    yield Action(tool="search_papers", args={"query": "x", "source": "the web"})
    yield Action(tool="bash", args={"command": "ls *.pdf 2>/dev/null || echo no"})
