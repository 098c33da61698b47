/* Draws a ticket's barcode, wrong on purpose: flawfinder finds each of these calls. Never build it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char line[64];

int draw(const char *code, const char *format) {
    char bars[32];
    strcpy(bars, code);                /* CWE-120: no bound */
    strcat(bars, "|");                 /* CWE-120 */
    sprintf(line, format, bars);       /* CWE-134: the format comes from outside */
    return printf(line);               /* CWE-134 */
}

int read_code(void) {
    char code[16];
    gets(code);                        /* CWE-120, and gone from the language */
    scanf("%s", code);                 /* CWE-120 */
    return draw(code, "%s\n");
}

int print_ticket(const char *printer) {
    char command[128];
    snprintf(command, sizeof command, "lp -d %s /var/spool/ticket.ps", printer);
    chmod("/var/spool/ticket.ps", 0777);     /* CWE-362: the path may be another file by now */
    return system(command);            /* CWE-78 */
}

int main(int argc, char **argv) {
    srand(42);                         /* CWE-327 */
    char *home = getenv("HOME");       /* CWE-807 */
    if (argc > 1 && home != NULL) {
        return print_ticket(argv[1]);
    }
    return read_code();
}
