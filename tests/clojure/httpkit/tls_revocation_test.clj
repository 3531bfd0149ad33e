(ns httpkit.tls-revocation-test
  "Lists of revoked certificates, and OCSP responses, as openssl makes them."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is]]
            [httpkit.files      :as files]
            [httpkit.tls-certs  :as certs]
            [httpkit.tls-wire   :as tls]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io File FileNotFoundException)))

(set! *warn-on-reflection* true)

(defn- ok [_] {:status 200 :body "ok"})

(defn- serial [name]
  (str/trim (second (str/split (certs/run "openssl" "x509" "-noout" "-serial" "-in" (certs/path (str name ".pem"))) #"="))))

(defn- index
  "A folder with the authority's index of certificates; of them, `revoked` are."
  ^File [names revoked]
  (let [folder (files/temporary-directory)]
    (spit (io/file folder "index.txt")
      (apply str (for [name names]
                   (str (if (revoked name) "R\t350101000000Z\t250101000000Z" "V\t350101000000Z\t")
                     "\t" (serial name) "\tunknown\t/CN=" name "\n"))))
    (spit (io/file folder "index.txt.attr") "unique_subject = no\n")
    (spit (io/file folder "crlnumber") "01\n")
    (spit (io/file folder "ca.conf")
      (format "[ca]\ndefault_ca=a\n[a]\ndatabase=%1$s/index.txt\ncrlnumber=%1$s/crlnumber\ndefault_md=sha256\n" folder))
    folder))

(defn- list-of
  "A file with the authority's list of revoked certificates. `dates`: arguments of `openssl ca`."
  ^File [names & dates]
  (let [folder (index names (constantly true))
        file   (io/file folder "list.pem")]
    (apply certs/run "openssl" "ca" "-gencrl" "-config" (io/file folder "ca.conf") "-cert" (certs/path "ca.pem")
      "-keyfile" (certs/path "ca.key") "-out" file (or dates ["-crldays" "1"]))
    file))

(defn- der ^File [^File list]
  (let [file (io/file (str list ".der"))]
    (certs/run "openssl" "crl" "-in" list "-outform" "DER" "-out" file)
    file))

(defn- requiring [list]
  {:ssl-port 0 :client-auth :need :tls (assoc (certs/pem "server") :ca (certs/path "ca.pem") :crl list)})

(defn- result [port]
  (let [answer (tls/fetch port "/" {:context (certs/context "client.p12")})]
    (:status answer answer)))

(deftest clients-with-revoked-certificates-are-refused
  (doseq [[revoked expected] {[] 200, ["client"] :refused, ["other"] 200, ["other" "client"] :refused}
          form               [identity der]]
    (wire/with-server [{:keys [server]} ok (requiring (form (list-of revoked)))]
      (is (= expected (result (server/server-ssl-port server))) (pr-str revoked)))))

(deftest a-new-list-is-for-new-connections
  (let [file (list-of [])]
    (wire/with-server [{:keys [server errors]} ok (assoc (requiring file) :keystore-scan-interval 1)]
      (let [port (server/server-ssl-port server)]
        (is (= 200 (result port)))
        (certs/replace-file! (list-of ["client"]) file)
        (is (wire/eventually #(= :refused (result port))))
        (certs/replace-file! (list-of []) file)
        (is (wire/eventually #(= 200 (result port))))
        (spit file "nothing")
        (is (wire/eventually #(seq @errors)))
        (is (str/includes? (ffirst @errors) (str ":tls :crl \"" file "\" has no list of revoked certificates")))
        (is (= 200 (result port)) "the old list stays in use")))))

(deftest a-list-that-has-expired-is-warned-of-and-admits-no-client
  (let [file (list-of [] "-crl_lastupdate" "20200101000000Z" "-crl_nextupdate" "20210101000000Z")]
    (wire/with-server [{:keys [server warnings]} ok (requiring file)]
      (is (= [(str ":tls :crl \"" file "\": list of \"CN=http-kit test authority\" expired on 2021-01-01:"
                " clients with a certificate from there are refused")]
             (map first @warnings)))
      (is (= :refused (result (server/server-ssl-port server)))))))

(defn- thrown [options]
  (try (wire/stop (wire/start ok options))
       (catch Exception e [(class e) (ex-message e)])))

(deftest what-is-no-list-is-refused-at-the-start
  (is (= [FileNotFoundException ":tls :crl \"none.pem\": no such file"] (thrown (requiring "none.pem"))))
  (is (= [IllegalArgumentException (str ":tls :crl \"" (certs/path "ca.pem") "\" has no list of revoked certificates: expected BEGIN X509 CRL")]
         (thrown (requiring (certs/path "ca.pem"))))))

(deftest a-list-without-clients-certificates-is-refused
  (is (= [IllegalArgumentException ":crl in :tls has no effect without :client-auth"]
         (thrown {:ssl-port 0 :tls (assoc (certs/pem "server") :crl (list-of []))}))))

;; OCSP

(defn- response-for
  "A file with the authority's OCSP response for a certificate."
  ^File [name revoked & dates]
  (let [folder (index [name] (set revoked))
        file   (io/file folder "response.der")]
    (apply certs/run "openssl" "ocsp" "-index" (io/file folder "index.txt") "-CA" (certs/path "ca.pem")
      "-rsigner" (certs/path "ca.pem") "-rkey" (certs/path "ca.key") "-issuer" (certs/path "ca.pem")
      "-cert" (certs/path (str name ".pem")) "-respout" file (or dates ["-ndays" "1"]))
    file))

(defn- stapled
  "What openssl says of the response that the server sends along."
  [port version]
  (let [out (certs/run "bash" "-c"
              (format "openssl s_client -connect 127.0.0.1:%d -servername localhost -status -%s -CAfile %s </dev/null 2>&1"
                port version (certs/path "ca.pem")))]
    (cond
      (str/includes? out "OCSP response: no response sent") :none
      (str/includes? out "Cert Status: good")               :good
      :else                                                 out)))

(deftest an-ocsp-response-is-sent-to-clients-that-ask
  (wire/with-server [{:keys [server warnings]} ok {:ssl-port 0 :tls (assoc (certs/pem "server") :ocsp (response-for "server" []))}]
    (let [port (server/server-ssl-port server)]
      (is (= [:good :good] (map #(stapled port %) ["tls1_2" "tls1_3"])))
      (is (= 200 (:status (tls/fetch port "/"))) "and nothing to others")
      (is (= [] @warnings))))
  (wire/with-server [{:keys [server]} ok {:ssl-port 0 :tls (certs/pem "server")}]
    (is (= :none (stapled (server/server-ssl-port server) "tls1_3")))))

(deftest an-ocsp-response-must-be-readable-and-good
  (let [with  #(thrown {:ssl-port 0 :tls (assoc (certs/pem "server") :ocsp %)})
        where (str ":tls :cert \"" (certs/path "server.pem") "\": its OCSP response ")]
    (is (= [IllegalArgumentException (str where "says that it is revoked")] (with (response-for "server" ["server"]))))
    (is (= [IllegalArgumentException (str ":tls :ocsp \"" (certs/path "ca.pem") "\" is no OCSP response in DER")]
           (with (certs/path "ca.pem"))))))

(deftest a-response-about-another-certificate-does-not-keep-a-certificate-from-use
  ;; A renewed certificate comes before its response does.
  (let [folder (files/temporary-directory)
        [cert key ocsp] (map #(str (io/file folder %)) ["tls.pem" "tls.key" "ocsp.der"])
        put!   (fn [name]
                 (certs/replace-file! (certs/path (str name ".key")) key)
                 (certs/replace-file! (certs/path (str name ".pem")) cert))
        warned [(str ":tls :cert \"" cert "\": its OCSP response is about another certificate, or has an unreadable date, and is not sent")]
        start  {:ssl-port 0 :keystore-scan-interval nil :tls {:cert cert :key key :ocsp ocsp}}]
    (put! "other")
    (certs/replace-file! (response-for "other" []) ocsp)
    (wire/with-server [{:keys [server warnings]} ok start]
      (let [port (server/server-ssl-port server)]
        (put! "server")
        (is (= ["localhost"] (map (comp first :names) (:certificates (server/server-reload-tls! server)))))
        (is (= [:none warned] [(stapled port "tls1_3") (map first @warnings)]))
        (certs/replace-file! (response-for "server" []) ocsp)
        (server/server-reload-tls! server)
        (is (= [:good warned] [(stapled port "tls1_3") (map first @warnings)]))))
    (certs/replace-file! (response-for "other" []) ocsp)
    (wire/with-server [{:keys [warnings]} ok start]
      (is (= warned (map first @warnings)) "at the start as well"))))

(deftest a-client-that-has-to-say-hello-again-gets-an-rsa-signature-too
  (certs/issue "by-rsa" "DNS:localhost" (certs/rsa 2048))
  (wire/with-server [{:keys [server]} ok {:ssl-port 0 :tls (certs/pem "by-rsa")}]
    ;; The first of its groups, for which it sends a key, is none of the server's.
    (let [out (certs/run "bash" "-c"
                (format "printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -ign_eof -groups P-521:P-256 -connect 127.0.0.1:%d -msg -CAfile %s 2>&1"
                  (server/server-ssl-port server) (certs/path "ca.pem")))]
      (is (= 2 (count (re-seq #"ClientHello" out))))
      (is (str/includes? out "HTTP/1.1 200 OK")))))
