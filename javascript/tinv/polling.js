// Asks the program again and again while a part is visible.
import { useEffect, useRef, useState } from "./html.js";

/**
 * @template Answer
 * @param {(before: Answer | null) => Promise<Answer>} ask
 * @param {number} every milliseconds from an answer to the next question
 * @param {{readonly now: boolean, listen: (heard: () => void) => () => void}} visible
 * @returns {{answer: Answer | null, error: Error | null, again: () => void}} `again` asks at once
 */
export function usePolling(ask, every, visible) {
    const [shown, setShown] = useState({ answer: null, error: null });
    const asking = useRef(ask);
    asking.current = ask;
    const again = useRef(() => {});
    useEffect(() => {
        let timer,
            ended = false,
            busy = false,
            wanted = false,
            last = null;
        const turn = async () => {
            clearTimeout(timer);
            if (ended || !visible.now) return; // `listen` goes on
            if (busy) {
                wanted = true;
                return;
            }
            busy = true;
            try {
                last = await asking.current(last);
                if (!ended) setShown({ answer: last, error: null });
            } catch (error) {
                if (!ended) setShown({ answer: last, error });
            }
            busy = false;
            if (!ended) timer = setTimeout(turn, wanted ? 0 : every);
            wanted = false;
        };
        again.current = turn;
        const deaf = visible.listen(turn);
        turn();
        return () => {
            ended = true;
            clearTimeout(timer);
            deaf();
        };
    }, [every, visible]);
    return { ...shown, again: () => again.current() };
}
