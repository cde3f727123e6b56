// Something that an earlier program has left is offered no longer; said, with a way to take that back.
import { post } from "./api.js";
import { useState } from "./html.js";

/**
 * `putAway(run)` is what a button does. `route` takes the run, and `undo`; `told(run)` is the sentence; `again()` asks
 * for what is offered. `said` and `close` are for `Said`.
 */
export function usePutAway(route, told, again) {
    const [said, setSaid] = useState(null);
    const putAway = (run) => async () => {
        await post(route, { run: run.id });
        const undo = async () => {
            await post(route, { run: run.id, undo: true });
            setSaid(null);
            again();
        };
        setSaid({ sentences: [told(run)], undo });
        again();
    };
    return { putAway, said, close: () => setSaid(null) };
}
