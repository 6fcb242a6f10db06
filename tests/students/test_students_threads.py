import threading

import pytest
import torch

from distillir.students.sparse import SparseStudent
from distillir.students.threads import side_by_side


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
def test_many_batches_run_beside_each_other_in_one_thread_each_and_come_back_in_order():
    together = threading.Barrier(4)  # passed only when four batches are at work at once

    def work(batch):
        together.wait(timeout=60)
        return batch * batch, torch.get_num_threads()

    found = list(side_by_side(work, range(8), torch.device("cpu")))
    assert found == [(i, (i * i, 1)) for i in range(8)]
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("batches", "device"), [(7, "cpu"), (8, "meta")])
def test_few_batches_and_accelerators_get_all_threads_one_after_the_other(batches, device):
    def work(_):
        return threading.current_thread() is threading.main_thread(), torch.get_num_threads()

    found = list(side_by_side(work, range(batches), torch.device(device)))
    assert found == [(i, (True, 4)) for i in range(batches)]


@pytest.mark.usefixtures("four_threads")
def test_an_error_of_one_batch_reaches_the_caller_and_threads_are_given_back():
    def work(batch):
        if batch == 5:
            raise ValueError("batch 5")
        return batch

    with pytest.raises(ValueError, match="batch 5"):
        list(side_by_side(work, range(20), torch.device("cpu")))
    assert torch.get_num_threads() == 4


def test_encoding_side_by_side_gives_what_one_thread_gives(splade_tiny):
    student = SparseStudent.from_pretrained(splade_tiny)
    texts = [f"passage {i} " + "words and more words " * (i % 7) for i in range(200)]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = student.encode_documents(texts, 16)
        torch.set_num_threads(2)
        beside = student.encode_documents(texts, 16)
    finally:
        torch.set_num_threads(threads)
    assert (alone.indptr == beside.indptr).all()
    assert (alone.indices == beside.indices).all()
    assert (alone.values == beside.values).all()
