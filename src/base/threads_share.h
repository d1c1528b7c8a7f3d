/* How threads wait for each other.
 *
 * A thread of GNU OpenMP that waits, for work or for the others at the end of a loop, keeps its
 * processor busy for milliseconds before it sleeps. Alone on a machine that is the fastest way; as
 * soon as other programs want the processors, each wait holds up the very thread that is waited
 * for, and everything takes several times as long. OpenMP waits briefly when there are more threads
 * than processors. So a thread of its own measures whether this process has to wait for a
 * processor, and as long as it has to, threads that only sleep make the number larger. */
#ifndef BASE_THREADS_SHARE_H
#define BASE_THREADS_SHARE_H

/* Begin, once, unless the user has chosen (OMP_WAIT_POLICY, GOMP_SPINCOUNT), there is one thread
 * only, or it is not possible. */
void threads_share_begin(void);

#endif
