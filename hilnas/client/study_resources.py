"""The SDK's calls for ranking studies, which can be waited for."""

from __future__ import annotations

from collections.abc import Sequence

from hilnas.client.core.calls import M, call, listing, stream
from hilnas.client.core.event_source import ReceivedEvent, followed
from hilnas.client.core.group import Document, Group, spec_document
from hilnas.client.core.paths import path_of
from hilnas.client.core.steps import Call, Items, Params
from hilnas.client.handles import Handle
from server.studies.schemas import RankingStudyResource, StudyEntryResource
from server.studies.spec import RankingStudySpec
from server.studies.states import StudyState


class RankingStudy(Handle[M], RankingStudyResource):
    """A ranking study as it was when it was read; its methods ask the server anew."""

    COLLECTION, NOUN, SUCCESS = "ranking-studies", "ranking study", StudyState.COMPLETED


class RankingStudyGroup(Group[M]):
    """Ranking studies: does a supernet rank architectures as stand-alone training does?"""

    @call
    def create(self, spec: RankingStudySpec | Document, *, idempotency_key: str | None = None) -> Call[RankingStudy[M]]:
        """Queue a ranking study."""
        answer = yield from self._http.post(
            path_of("ranking-studies"), spec_document(spec), idempotency_key=idempotency_key
        )
        return self.read(RankingStudy, answer)

    @call
    def get(self, study_id: str) -> Call[RankingStudy[M]]:
        """One study with its correlations, as far as it is."""
        return self.read(RankingStudy, (yield from self._http.get(path_of("ranking-studies", study_id))))

    @listing
    def all(
        self, *, states: Sequence[str] = (), owner: str | None = None, limit: int | None = None
    ) -> Items[RankingStudy[M]]:
        """Iterate over studies, or those of an owner (by name or id), newest first."""
        filters: Params = {"state": list(states), "owner": owner}
        return self.items(path_of("ranking-studies"), RankingStudy, filters, limit)

    @listing
    def entries(self, study_id: str) -> Items[StudyEntryResource]:
        """Its architectures with both accuracies."""
        return self.items(path_of("ranking-studies", study_id, "entries"), StudyEntryResource, {})

    @call
    def cancel(self, study_id: str) -> Call[RankingStudy[M]]:
        """Stop it; it cannot be resumed, and what is done stays."""
        return self.read(
            RankingStudy, (yield from self._http.post(path_of("ranking-studies", study_id, verb="cancel")))
        )

    @stream
    def events(self, study_id: str, after_id: int = 0) -> Items[ReceivedEvent]:
        """How it goes, until it ends."""
        return followed(self._http, path_of("ranking-studies", study_id, "events"), after_id)
