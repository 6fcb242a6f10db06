"""The names users may rely on: adding or losing one is a decision, never an accident."""

from importlib import import_module
from pathlib import Path

import pytest

import distillir

EXPORTS = {
    "distillir": ["Conversation", "DistillirError", "Hit", "Retriever", "SparseStudent", "Turn", "__version__"],
    "distillir.cli": ["main"],
    "distillir.data": [
        "CAsT",
        "Context",
        "Corpus",
        "Counts",
        "DSTC11",
        "Document",
        "HUMAN",
        "LLMReply",
        "LLMRewrites",
        "Loaded",
        "MTRAG",
        "PUBLISHED",
        "Qrels",
        "Repair",
        "Run",
        "load_canard",
        "load_cast",
        "load_dstc11",
        "load_llm_rewrites",
        "load_mtrag",
        "load_qrecc",
        "open_or_build",
        "ranked",
        "read_contexts",
        "read_documents",
        "read_qrels",
        "read_run",
        "repair_rewrite",
        "write_contexts",
        "write_documents",
        "write_published",
        "write_qrels",
        "write_run",
    ],
    "distillir.doctor": ["Examination", "Finding", "examine"],
    "distillir.encoding": ["encode_corpus", "fuse", "rewrite_vectors", "teacher_pool"],
    "distillir.evaluation": [
        "Cell",
        "Comparison",
        "CorpusFlops",
        "DEFAULT_EDGES",
        "DEFAULT_MEASURES",
        "DepthPoint",
        "Example",
        "Facts",
        "Hit",
        "Intervals",
        "Latency",
        "PerQuery",
        "Qrels",
        "RECORD_FIELDS",
        "RESAMPLES",
        "Run",
        "SystemExample",
        "SystemResult",
        "active_dims",
        "bootstrap_intervals",
        "bucket_index",
        "bucket_labels",
        "clusters",
        "compare",
        "evaluate",
        "flops_at_corpus",
        "flops_over_corpora",
        "flops_per_query",
        "holm",
        "measure_key",
        "measure_latency",
        "postings_touched",
        "render_report",
        "sign_flip_test",
        "write_report",
    ],
    "distillir.index": ["ENGINES", "Index", "ScoredId", "SparseQuery", "create_index", "fill", "open_index"],
    "distillir.labels": [
        "FusionPlan",
        "Kind",
        "Label",
        "LabelRequest",
        "LabelStore",
        "Status",
        "StoredLabel",
        "TeacherSummary",
        "canonical_json",
        "fuse_linear",
        "fuse_max",
        "fuse_min",
        "import_llm_rewrites",
        "import_rewrites",
        "mean_weights",
        "prompt_version",
    ],
    "distillir.objectives": [
        "ADRMSE",
        "FullCollectionKLD",
        "InfoNCE",
        "KLD",
        "LambdaRank",
        "MarginMSE",
        "OBJECTIVES",
        "Objective",
        "Output",
        "PointwiseMSE",
        "RankGap",
        "RankNet",
        "RepresentationMSE",
        "Targets",
        "TeacherProfile",
        "WeightedSum",
        "check_pairing",
        "collection_temperature",
        "effective_documents",
        "entropy_temperature",
        "full_collection_kld",
        "kl_divergence",
        "teacher_profile",
    ],
    "distillir.quickstart": [
        "Passage",
        "QuickstartTurn",
        "Split",
        "quickstart_turns",
        "require_entries",
        "standard_library",
    ],
    "distillir.recipes": [
        "Method",
        "SparseRecipe",
        "SparseRun",
        "encode_alone",
        "evaluate_alone",
        "index_alone",
        "open_retriever",
        "preset",
        "presets",
        "read_recipe",
        "run_sparse",
        "write_recipe",
    ],
    "distillir.sampling": [
        "All",
        "Bands",
        "CandidateSampler",
        "Candidates",
        "Collection",
        "DRAWS",
        "Draw",
        "GoldPolicy",
        "LogUniform",
        "RankedPool",
        "Ranking",
        "StratifiedScore",
        "Top",
        "UniformBand",
        "draw_candidates",
        "generator",
        "gold_share",
        "shared_block",
    ],
    "distillir.sampling.draw": ["All", "Bands", "DRAWS", "Draw", "LogUniform", "StratifiedScore", "Top", "UniformBand"],
    "distillir.search": ["Hit", "QueryEncoder", "Retriever"],
    "distillir.sparsity": ["active_dimensions", "anti_zero", "expected_flops", "flops", "flops_at_corpus", "l1"],
    "distillir.students": [
        "PACKAGED",
        "SPLADE_TINY",
        "SparseSettings",
        "SparseStudent",
        "TermOrigin",
        "by_turn",
        "resolve",
        "term_origins",
    ],
    "distillir.training": ["SparseData", "Tick", "TrainResult", "TrainSettings", "train"],
    "distillir.vectors": [
        "CSR",
        "Postings",
        "SparseVectors",
        "SparseVectorsWriter",
        "check_csr",
        "csr_concat",
        "csr_from_rows",
    ],
}


def packages() -> list[str]:
    root = Path(distillir.__file__).parent
    inner = [p.parent.relative_to(root).parts for p in root.rglob("__init__.py")]
    return sorted(".".join(("distillir", *parts)) for parts in inner)


def test_every_package_is_listed_here():
    assert packages() == sorted(EXPORTS)


@pytest.mark.parametrize("package", sorted(EXPORTS))
def test_exported_names(package):
    module = import_module(package)
    assert sorted(module.__all__) == EXPORTS[package]
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None, name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = distillir.nothing_like_this
