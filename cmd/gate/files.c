/* SPDX-License-Identifier: Apache-2.0 */
/* files.c - texts of sshd's own /etc: passwd(5), group(5), sshd_config(5). */
#include "cmd/gate/gate.h"

#include <string.h>

bool gate_name_is_taken(const char *name)
{
	static const char *const taken[] = { "root", "sshd", "pando-keys", "nobody" };

	for (size_t i = 0; i < ARRAY_LEN(taken); i++) {
		if (strcmp(name, taken[i]) == 0)
			return true;
	}
	return false;
}

int gate_passwd_begin(struct buf *out)
{
	return buf_addf(out,
			"root:*:0:0::/:/usr/sbin/nologin\n"
			"sshd:*:%d:%d::/run/sshd:/usr/sbin/nologin\n"
			"pando-keys:*:%d:%d::/:/usr/sbin/nologin\n",
			GATE_UID_SSHD, GATE_UID_SSHD, GATE_UID_HELPER, GATE_UID_HELPER);
}

int gate_passwd_add(struct buf *out, const char *name, uint32_t uid)
{
	/* '*': no password, and not locked, as '!' would be. */
	return buf_addf(out, "%s:*:%u:%u::/:" GATE_SESSION "\n", name, uid, uid);
}

int gate_group(struct buf *out)
{
	return buf_addf(out, "root:*:0:\ntty:*:5:\nsshd:*:%d:\npando-keys:*:%d:\n", GATE_UID_SSHD,
			GATE_UID_HELPER);
}

int gate_sshd_config(struct buf *out, const char *addr)
{
	return buf_addf(
		out,
		"# Made by pandod at each start of this node; changes are lost.\n"
		"ListenAddress %s\n"
		"HostKey " GATE_ETC "/ssh/host_key\n"
		"PidFile " GATE_RUN "/sshd.pid\n"
		"LogLevel INFO\n"
		/* Who: keys that naming has, nothing else. */
		"AuthenticationMethods publickey\n"
		"PubkeyAuthentication yes\n"
		"PasswordAuthentication no\n"
		"KbdInteractiveAuthentication no\n"
		"HostbasedAuthentication no\n"
		"PermitEmptyPasswords no\n"
		"PermitRootLogin no\n"
		"DenyUsers root sshd pando-keys\n"
		"AuthorizedKeysFile none\n"
		"AuthorizedKeysCommand " GATE_KEYS " %%u %%f\n"
		"AuthorizedKeysCommandUser pando-keys\n"
		"UsePAM no\n"
		"UseDNS no\n"
		/* What: our session program, for a shell, a command and a subsystem alike. */
		"ForceCommand pando-session\n"
		"Subsystem sftp /usr/lib/openssh/sftp-server\n"
		"AcceptEnv LANG LC_* COLORTERM\n"
		"PermitUserRC no\n"
		"PermitUserEnvironment no\n"
		"PrintMotd no\n"
		"PrintLastLog no\n"
		/* Where to: a forwarded port would end in the gate's network, not in the tenant's.
		 */
		"AllowTcpForwarding no\n"
		"AllowStreamLocalForwarding no\n"
		"AllowAgentForwarding yes\n"
		"GatewayPorts no\n"
		"X11Forwarding no\n"
		"PermitTunnel no\n"
		/* How long: a connection that is dead for a minute lets its session go. */
		"LoginGraceTime 30\n"
		"MaxStartups 100:30:400\n"
		"MaxSessions 64\n"
		"ClientAliveInterval 15\n"
		"ClientAliveCountMax 4\n",
		addr);
}
