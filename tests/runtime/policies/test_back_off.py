from glus_edge.runtime.policies.back_off import BackOff


def test_questions_without_an_answer_are_asked_at_growing_distances():
    back_off, asked, age = BackOff(), [], 0
    for frame in range(40):
        age += 1
        if back_off.allows(age):
            asked.append(frame)
            back_off = back_off.after(segmented=False)
            age = 0
    assert asked[:6] == [0, 2, 6, 14, 22, 30]
    assert back_off.owed
    answered = back_off.after(segmented=True)
    assert answered.allows(1)
    assert not answered.owed
