/* process: what this process takes of the machine, measured now. Any thread. */
#ifndef APP_PROCESS_H
#define APP_PROCESS_H

#include <stdint.h>

uint64_t process_rss_bytes(void);  /* resident memory; 0 where the system does not tell */
double process_now_us(void);       /* a clock that only runs forward */

#endif
