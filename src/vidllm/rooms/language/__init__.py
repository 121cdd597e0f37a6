"""Questions, references and descriptions about a scene, in the benchmarks' formats."""

from vidllm.rooms.language.checker import check_language
from vidllm.rooms.language.mirror import mirror_text
from vidllm.rooms.language.records import Language, benchmark_files, vsi_problem
from vidllm.rooms.language.settings import LanguageSettings, VisibilityThresholds
from vidllm.rooms.language.statistics import Guess, majority_scores
from vidllm.rooms.language.write import write_language

__all__ = [
    "Guess",
    "Language",
    "LanguageSettings",
    "VisibilityThresholds",
    "benchmark_files",
    "check_language",
    "majority_scores",
    "mirror_text",
    "vsi_problem",
    "write_language",
]
