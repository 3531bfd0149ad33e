(ns httpkit.tls-options-test
  "What is read for a TLS port, and what is said of what cannot be."
  (:require [clojure.java.io    :as io]
            [clojure.string     :as str]
            [clojure.test       :refer [deftest is testing]]
            [httpkit.files      :as files]
            [httpkit.subprocess :as subprocess]
            [httpkit.tls-certs  :as certs]
            [httpkit.wire       :as wire]
            [org.httpkit.server :as server])
  (:import (java.io File FileNotFoundException IOException)
           (java.net InetSocketAddress ServerSocket URL URLClassLoader)
           (java.security Key KeyStore KeyStoreSpi PrivateKey)
           (java.util Collections)
           (javax.crypto.spec SecretKeySpec)
           (org.httpkit.server HttpServer IHandler ProxyProtocolOption TlsOptions TlsOptions$ClientAuth)))

(set! *warn-on-reflection* true)

(defn- ok [_] {:status 200 :body "ok"})

(def ^:private quiet
  {:port 0 :ip "127.0.0.1" :legacy-return-value? false :warn-logger (fn [_ _])})

(defn- thrown
  "[class message] of what a server with these options throws; the names of its certificates if it starts."
  [options]
  (try
    (let [server (server/run-server ok (merge quiet options))]
      (try (mapv :names (:certificates (server/server-reload-tls! server)))
           (finally @(server/server-stop! server))))
    (catch Throwable t [(class t) (.getMessage t)])))

(defn- warnings
  "Of a server with these options."
  [options]
  (wire/with-server [{:keys [warnings]} ok options]
    (mapv first @warnings)))

(def ^:private password certs/password)

(def ^:private names-of-server ["localhost" "*.wild.test" "127.0.0.1" "0:0:0:0:0:0:0:1"])

(defn- scratch
  "The path of a new file with this text."
  [name text]
  (let [file (io/file (.getParentFile (io/file (certs/path "ca.pem"))) name)]
    (spit file text)
    (str file)))

;; Options that are wrong alone, or together

(deftest wrong-values-of-tls-options-are-named
  (doseq [[options class message]
          [[{:ssl-port 70000}          IllegalArgumentException ":ssl-port 70000: expected an integer from 0 to 65535, or nil"]
           [{:ssl-port "8443"}         ClassCastException       ":ssl-port \"8443\": expected an integer from 0 to 65535, or nil"]
           [{:keystore 5}              ClassCastException       ":keystore 5: expected a path, a File, a URL, \"classpath:...\" or a KeyStore, or nil"]
           [{:truststore :x}           ClassCastException       ":truststore :x: expected a path, a File, a URL, \"classpath:...\" or a KeyStore, or nil"]
           [{:keystore-type :pkcs12}   ClassCastException       ":keystore-type :pkcs12: expected a String, or nil"]
           [{:key-password 1234}       ClassCastException       ":key-password of class java.lang.Long: expected a String, or nil"]
           [{:client-auth true}        IllegalArgumentException ":client-auth true: expected :none, :want or :need, or nil"]
           [{:ssl-protocols []}        IllegalArgumentException ":ssl-protocols of class clojure.lang.PersistentVector: expected a vector of \"TLSv1.3\" and \"TLSv1.2\", or nil"]
           [{:keystore-scan-interval -1} IllegalArgumentException ":keystore-scan-interval -1: expected an integer from 0 to 2147483647, or nil"]
           [{:tls "c.pem"}             IllegalArgumentException ":tls \"c.pem\": expected {:cert path :key path}, or a vector of such maps, or nil"]
           [{:tls []}                  IllegalArgumentException ":tls of class clojure.lang.PersistentVector: expected {:cert path :key path}, or a vector of such maps, or nil"]
           [{:tls {:cert 5 :key "k"} :ssl-port 0} ClassCastException ":cert 5: expected a path, a File, a URL or \"classpath:...\", or nil"]
           [{:tls {:cert "c.pem"} :ssl-port 0} IllegalArgumentException ":tls without :key: expected {:cert path :key path}"]
           [{:tls {:cert "c.pem" :key "k.pem" :key-password 5} :ssl-port 0} ClassCastException ":key-password of class java.lang.Long: expected a String, or nil"]
           [{:http-versions [:http2 :http1]} IllegalArgumentException ":http-versions [:http2 :http1]: expected [:http1]"]
           [{:ssl-port 8443}           IllegalArgumentException ":ssl-port 8443 needs a certificate: give :keystore or :tls"]
           [{:ssl? true}               IllegalArgumentException ":ssl-port 443 needs a certificate: give :keystore or :tls"]
           [{:http? false}             IllegalArgumentException ":http? false needs :ssl-port, or :ssl? true: otherwise the server listens nowhere"]
           [{:port 21344 :ssl-port 21344 :keystore "a"} IllegalArgumentException ":port and :ssl-port are both 21344: expected two ports"]
           [{:port 443 :ssl? true :keystore "a"} IllegalArgumentException ":port and :ssl-port are both 443: expected two ports"]
           [{:ssl-port 0 :keystore "a" :tls {:cert "c" :key "k"}} IllegalArgumentException ":keystore and :tls are both given: expected one of them"]]]
    (is (= [class message] (thrown options)) (pr-str options))))

(deftest a-tls-port-may-be-the-number-of-a-port-that-is-not-bound
  (doseq [options [{:http? false}
                   {:address-finder #(java.net.InetSocketAddress. "127.0.0.1" 0)}
                   {:unix-socket (io/file (files/temporary-directory) "app.sock")}]]
    (let [port (with-open [s (ServerSocket. 0)] (.getLocalPort s))]
      (is (= [names-of-server] (thrown (merge {:port port :ssl-port port :tls (certs/pem "server")} options)))
          (pr-str (keys options))))))

(deftest an-ssl-context-is-refused
  (is (= [IllegalArgumentException
          (str ":ssl-context cannot be used: keys cannot be taken out of an SSLContext."
            " Give :keystore (a file or a java.security.KeyStore) or :tls {:cert ... :key ...}")]
         (thrown {:ssl-port 8443 :ssl-context (javax.net.ssl.SSLContext/getDefault)}))))

(deftest old-protocols-are-refused-by-name
  (doseq [old ["TLSv1.1" "SSLv3"]]
    (is (= [IllegalArgumentException (str ":ssl-protocols \"" old "\": only TLSv1.3 and TLSv1.2 are supported")]
           (thrown {:ssl-port 0 :tls (certs/pem "server") :ssl-protocols ["TLSv1.2" old]})))))

(deftest client-certificates-need-authorities
  (doseq [auth [:want :need]]
    (is (= [IllegalArgumentException
            (str ":client-auth " auth " needs :truststore (or :ca in :tls): who may sign clients' certificates?")]
           (thrown {:ssl-port 0 :tls (certs/pem "server") :client-auth auth})))))

(deftest maps-of-tls-agree-on-who-may-sign-clients-certificates
  (let [ca    (certs/path "ca.pem")
        other (certs/path "server.pem")
        start (fn [& [a b auth]]
                (thrown {:ssl-port 0 :client-auth (or auth :need) :tls [(merge (certs/pem "server") a) (merge (certs/pem "other") b)]}))
        says  (fn [k]
                [IllegalArgumentException
                 (str "maps in :tls with different " k ": clients' certificates are checked alike for all names;"
                   " give the same " k " in each map, or in one")])]
    (is (= (says :ca) (start {:ca ca} {:ca other}) (start {:ca ca} {:ca other} :want)))
    (is (= (says :crl) (start {:ca ca :crl "a.crl"} {:ca ca :crl "b.crl"})))
    (doseq [same [[{:ca ca} {:ca ca}] [{:ca ca} {:ca (io/file ca)}] [{:ca ca} {}] [{} {:ca ca}]
                  [{:ca ca} {:ca other} :none]]]
      (is (= [names-of-server ["other.test"]] (apply start same)) (pr-str same)))))

(deftest options-that-have-no-effect-are-one-warning-each
  (is (= [":exclude-ciphers has no effect: all suites offered are forward secret AEAD suites"
          ":exclude-protocols has no effect: only TLSv1.3 and TLSv1.2 are offered, see :ssl-protocols"]
         (warnings {:exclude-ciphers [".*RSA.*"] :exclude-protocols ["SSLv3"]})))
  (is (= [] (warnings (let [pem (certs/pem "server")]
                        {:ssl-port 0 :tls (assoc pem :ca (:cert pem)) :client-auth :none}))) "switched off")
  (is (= [] (warnings {:keystore "no.p12" :ssl-port 0 :ssl? false})) "switched off")
  (is (= [":ssl-prot is no option of run-server; did you mean :ssl-port?"] (warnings {:ssl-prot 0}))))

(deftest an-unknown-name-in-tls-is-warned-of
  (is (= [":certificate is no option of :tls"]
         (warnings {:ssl? false :tls {:cert "c" :key "k" :certificate "d"}}))))

;; Files

(defn- said
  "All that the exception says which a server with these options throws: its own message, and those of its causes."
  [options]
  (try (wire/stop (wire/start ok (assoc options :ssl-port 0))) ""
       (catch Throwable t
         (str/join "\n" (map str (take-while some? (iterate #(some-> ^Throwable % .getCause) t)))))))

(deftest the-text-of-a-key-in-the-place-of-its-path-is-not-repeated
  (let [{:keys [cert key] :as pem} (certs/pem "server")
        text   (slurp key)
        secret (second (str/split-lines text))]
    (doseq [[options name] [[{:tls {:cert cert :key text}}                        ":tls :key"]
                            [{:tls {:cert cert :key (io/file text)}}              ":tls :key"]
                            [{:tls {:cert cert :key (str/replace text "\n" " ")}} ":tls :key"]
                            [{:tls {:cert text :key key}}                         ":tls :cert"]
                            [{:tls (assoc pem :ca text) :client-auth :need}       ":tls :ca"]
                            [{:keystore text}                                     ":keystore"]]]
      (is (= [IllegalArgumentException (str name ": expected a path, not PEM text")] (thrown (assoc options :ssl-port 0))))
      (is (not (str/includes? (said options) secret))))))

(deftest a-path-that-the-jvm-cannot-express-is-named-by-its-option
  (let [key (certs/path "server.key")]
    (doseq [[options name] [[{:tls {:cert "a\u0000b" :key key}} ":tls :cert"] [{:keystore "a\u0000b"} ":keystore"]]]
      (is (= [IllegalArgumentException (str name ": not a path here (Nul character not allowed)")]
             (thrown (assoc options :ssl-port 0)))))
    (let [odd    `(str ~(str (files/temporary-directory)) "/" (char 252) ".pem")
          script (pr-str `(doseq [options# [{:tls {:cert ~odd :key ~key}} {:keystore ~odd} {:access-log ~odd}
                                            {:access-log {:file (java.io.File. ~odd)}}]]
                            (println (try ((server/run-server identity (merge {:port 0 :ip "127.0.0.1"} options#
                                                                         (when-not (:access-log options#) {:ssl-port 0}))))
                                          (catch Exception e# (str (class e#) " " (ex-message e#)))))))
          {:keys [out]} (subprocess/run (str "(require '[org.httpkit.server])" script)
                          :jvm-args subprocess/native-access :env {"LC_ALL" "C"})]
      (is (= (for [name [":tls :cert" ":keystore" ":access-log" ":access-log"]]
               (str IllegalArgumentException " " name ": not a path here (Malformed input or input contains unmappable characters);"
                 " beyond ASCII, the JVM needs a locale such as LC_ALL=C.UTF-8"))
             (take-last 4 (str/split-lines out)))
          out))))

(deftest a-password-in-a-url-is-not-repeated
  (wire/with-server [{:keys [port]} (constantly {:status 404}) {}]
    (doseq [[at why] {port "no such file", 1 "Connection refused"}
            :let [url #(URL. (str "http://" % "127.0.0.1:" at "/ks.p12"))]]
      (is (= [(str ":keystore \"" (url "") "\": " why)]
             (rest (thrown {:ssl-port 0 :keystore (url "user:S3CRET@")}))))
      (is (not (re-find #"S3CRET|user" (said {:keystore (url "user:S3CRET@")}))))))
  (let [text "http://user:S3CRET@127.0.0.1:1/ks.p12"]
    (is (not (re-find #"S3CRET|user" (said {:keystore text}))))))

(deftest a-missing-file-is-named
  (doseq [[options what]
          [[{:keystore "no/server.p12"}                                  ":keystore \"no/server.p12\""]
           [{:keystore (io/file "no.p12")}                               ":keystore \"no.p12\""]
           [{:keystore (URL. "file:/no/such/file.p12")}                  ":keystore \"file:/no/such/file.p12\""]
           [{:tls {:cert "no.pem" :key (certs/path "server.key")}}       ":tls :cert \"no.pem\""]
           [{:tls {:cert (certs/path "server.pem") :key "no.key"}}       ":tls :key \"no.key\""]
           [{:tls (assoc (certs/pem "server") :ca "no-ca.pem") :client-auth :need} ":tls :ca \"no-ca.pem\""]
           [{:tls (certs/pem "server") :truststore "no-trust.p12" :client-auth :want} ":truststore \"no-trust.p12\""]]]
    (is (= [FileNotFoundException (str what ": no such file")] (thrown (assoc options :ssl-port 0)))))
  (is (= [FileNotFoundException ":keystore \"classpath:no.p12\": the class path does not have it"]
         (thrown {:ssl-port 0 :keystore "classpath:no.p12"})))
  (is (= [IOException ":keystore \"/\": Is a directory"] (thrown {:ssl-port 0 :keystore "/"}))))

(deftest a-wrong-password-or-no-store-is-said-so
  (let [p12  (certs/path "server.p12")
        text (scratch "text.p12" "hello")
        says (fn [path option kinds] [IOException (str path ": wrong " option ", or not a " kinds " store")])]
    (is (= (says (str ":keystore \"" p12 "\"") ":key-password" "PKCS12 or JKS")
           (thrown {:ssl-port 0 :keystore p12 :key-password "guess"})))
    (is (= (says (str ":keystore \"" p12 "\"") ":key-password" "JCEKS")
           (thrown {:ssl-port 0 :keystore p12 :keystore-type "JCEKS" :key-password password})))
    (is (= (says (str ":keystore \"" text "\"") ":key-password" "PKCS12 or JKS")
           (thrown {:ssl-port 0 :keystore text :key-password password})))
    (is (= (says (str ":truststore \"" p12 "\"") ":trust-password" "PKCS12 or JKS")
           (thrown {:ssl-port 0 :tls (certs/pem "server") :client-auth :need :truststore p12 :trust-password "x"})))
    (is (= [IllegalArgumentException ":keystore-type \"FOO\": this JVM has no such key stores"]
           (thrown {:ssl-port 0 :keystore p12 :keystore-type "FOO" :key-password password})))
    (is (= [IOException (str ":keystore \"" p12 "\" entry \"server\": wrong :key-manager-password")]
           (thrown {:ssl-port 0 :keystore p12 :key-password password :key-manager-password "guess"})))
    (is (= [IOException (str ":keystore \"" p12 "\" entry \"server\" needs a password: give :key-password")]
           (thrown {:ssl-port 0 :keystore p12})))))

(deftest a-store-without-a-key-is-described
  (let [trust (certs/path "trust.p12")]
    (is (= [IllegalArgumentException (str ":keystore \"" trust "\" has no private key; its entries: ca (certificate)")]
           (thrown {:ssl-port 0 :keystore trust :key-password password}))))
  (let [empty (doto (KeyStore/getInstance "PKCS12") (.load nil nil))]
    (is (= [IllegalArgumentException ":keystore has no private key; it has no entries"]
           (thrown {:ssl-port 0 :keystore empty})))
    (is (= [IllegalArgumentException ":truststore has no trusted certificate"]
           (thrown {:ssl-port 0 :tls (certs/pem "server") :client-auth :need :truststore empty})))
    (.setEntry empty "session" (java.security.KeyStore$SecretKeyEntry. (SecretKeySpec. (byte-array 16) "AES"))
      (java.security.KeyStore$PasswordProtection. (.toCharArray "x")))
    (is (= [IllegalArgumentException ":keystore has no private key; its entries: session (secret key)"]
           (thrown {:ssl-port 0 :keystore empty :key-password "x"})))))

(deftest a-jvm-without-elliptic-curves-says-which-module-it-lacks
  (let [p12    (certs/path "server.p12")
        script (pr-str `(try ((server/run-server identity {:port 0 :ip "127.0.0.1" :ssl-port 0 :keystore ~p12 :key-password ~password}))
                             (println :started)
                             (catch Exception e# (println (ex-message e#)))))
        {:keys [out]} (subprocess/run (str "(require '[org.httpkit.server])" script)
                        :jvm-args (concat subprocess/native-access ["--limit-modules" "java.sql"]))]
    (is (= (if (< (.feature (Runtime/version)) 22) ; it is part of java.base since
             (str ":keystore \"" p12 "\" entry \"server\": EC KeyFactory not available;"
               " this JVM lacks a module that has it, such as jdk.crypto.ec")
             ":started")
           (last (str/split-lines out)))
        out)))

(deftest a-store-whose-password-is-missing-is-said-so-even-if-that-is-empty
  (let [p12   (certs/path "empty.p12")
        trust (certs/path "trust.p12")]
    (certs/run "openssl" "pkcs12" "-export" "-name" "srv" "-in" (certs/path "server.pem") "-inkey" (certs/path "server.key")
               "-out" p12 "-passout" "pass:")
    (is (= [IllegalArgumentException
            (str ":keystore \"" p12 "\" entry \"srv\" has a key, but no certificate; is :key-password missing? It may be \"\"")]
           (thrown {:ssl-port 0 :keystore p12})))
    (is (= [names-of-server] (thrown {:ssl-port 0 :keystore p12 :key-password ""})))
    (is (= [IllegalArgumentException
            (str ":keystore \"" trust "\" has no private key; it has no entries; is :key-password missing? It may be \"\"")]
           (thrown {:ssl-port 0 :keystore trust})))
    (is (= [IllegalArgumentException
            (str ":truststore \"" trust "\" has no trusted certificate; is :trust-password missing? It may be \"\"")]
           (thrown {:ssl-port 0 :tls (certs/pem "server") :client-auth :need :truststore trust})))))

(deftest a-key-that-stays-in-its-provider-is-refused
  (let [key   (reify PrivateKey (getAlgorithm [_] "EC") (getFormat [_] nil) (getEncoded [_] nil))
        spi   (proxy [KeyStoreSpi] []
                (engineLoad [& _])
                (engineAliases [] (Collections/enumeration ["hsm"]))
                (engineIsKeyEntry [_] true)
                (engineGetKey [_ _] key))
        store (doto (proxy [KeyStore] [spi nil "HSM"]) (.load nil nil))]
    (is (= [IllegalArgumentException ":keystore entry \"hsm\": its key cannot leave its provider, which native TLS needs"]
           (thrown {:ssl-port 0 :keystore store})))))

(deftest pem-files-without-what-they-should-have-are-named
  (let [{:keys [cert key]} (certs/pem "server")
        text    (scratch "hello.pem" "hello\n")
        broken  (scratch "broken.pem" "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n")
        garbage (scratch "garbage.pem" "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        cut     (scratch "cut.pem" "-----BEGIN CERTIFICATE-----\nAAAA\n")
        says    (fn [path message] [IllegalArgumentException (str path message)])
        with    (fn [cert key & more] (thrown {:ssl-port 0 :tls (merge {:cert cert :key key} (first more))}))]
    (is (= (says (str ":tls :cert \"" text "\"") " has no certificate: expected PEM with BEGIN CERTIFICATE") (with text key)))
    (is (= (says (str ":tls :cert \"" key "\"") " has no certificate: expected PEM with BEGIN CERTIFICATE") (with key key)))
    (is (= (says (str ":tls :key \"" cert "\"") " has no private key: expected PEM with BEGIN PRIVATE KEY") (with cert cert)))
    (is (= (says (str ":tls :cert \"" broken "\"") ": what follows BEGIN CERTIFICATE is no base64") (with broken key)))
    (is (= (says (str ":tls :cert \"" cut "\"") ": BEGIN CERTIFICATE without END") (with cut key)))
    (let [[class message] (with garbage key)]
      (is (= IllegalArgumentException class))
      (is (str/starts-with? message (str ":tls :cert \"" garbage "\": a certificate that cannot be read: "))))))

(defn- encrypted-key
  "The path of the key of `server`, encrypted with \"secret\"."
  [name & args]
  (let [path (certs/path name)]
    (apply certs/run "openssl" "pkcs8" "-topk8" "-in" (certs/path "server.key") "-out" path "-passout" "pass:secret" args)
    path))

(deftest an-encrypted-key-needs-its-password
  (let [cert (certs/path "server.pem")
        key  (encrypted-key "encrypted.key")
        with #(thrown {:ssl-port 0 :tls (merge {:cert cert :key key} %)})]
    (is (= [IllegalArgumentException (str ":tls :key \"" key "\" is encrypted: give :key-password")] (with nil)))
    (is (= [IOException (str ":tls :key \"" key "\": wrong :key-password")] (with {:key-password "guess"})))
    (let [old (certs/path "old.key")]
      (certs/run "openssl" "ec" "-in" (certs/path "server.key") "-aes128" "-passout" "pass:secret" "-out" old)
      (is (= [IllegalArgumentException
              (str ":tls :key \"" old "\" is encrypted in OpenSSL's old form; `openssl pkcs8 -topk8` converts it")]
             (with {:key old :key-password "secret"}))))))

(deftest a-password-that-the-jvm-does-not-take-is-said-so
  (let [secret "geh\u00e4use"
        key    (fn [name & args]
                 (let [path (certs/path name)]
                   (apply certs/run "openssl" "pkcs8" "-topk8" "-in" (certs/path "server.key") "-out" path
                     "-passout" (str "pass:" secret) args)
                   path))
        with   (fn [key password] (thrown {:ssl-port 0 :tls {:cert (certs/path "server.pem") :key key :key-password password}}))
        says   (fn [key message] [IOException (str ":tls :key \"" key "\": " message)])
        aes    (key "odd-aes.key" "-v2" "aes256")
        des    (key "odd-des.key" "-v1" "PBE-SHA1-3DES")
        all?   (< 18 (.feature (Runtime/version)))] ; later JDKs take other characters, but not in all ways
    (if all?
      (is (= [names-of-server (says aes "wrong :key-password")]
             [(first (with aes secret)) (with aes "geh\u00e4u")]))
      (is (= (says aes "this JVM takes only ASCII in its :key-password") (with aes secret))))
    (is (= (says des (str (when all? "wrong :key-password, or ") "this JVM takes only ASCII in its :key-password"))
           (with des secret)))
    (is (= (says des "wrong :key-password") (with des "guess")))))

(deftest an-encryption-that-the-jvm-does-not-know-is-said-so
  (let [cert   (certs/path "server.pem")
        broken (scratch "broken.key" "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")]
    (doseq [key [(encrypted-key "scrypt.key" "-scrypt")
                 (encrypted-key "des3.key" "-v2" "des3")
                 (encrypted-key "camellia.key" "-v2" "camellia256")
                 broken]
            :let [[class message] (thrown {:ssl-port 0 :tls {:cert cert :key key :key-password "secret"}})]]
      (is (= IllegalArgumentException class) message)
      (is (str/starts-with? message (str ":tls :key \"" key "\" is encrypted in a way that this JVM does not know (")))
      (is (str/ends-with? message "); `openssl pkcs8 -topk8 -v2 aes256` converts it"))
      (is (not (str/includes? message "(null)")) message))))

;; What can be read

(defn- made-by-keytool
  "The path of a store whose key Java has written: without the public key, which is optional in an EC key."
  []
  (let [path (certs/path "keytool.p12")]
    (when-not (.exists (io/file path))
      (certs/run (io/file (System/getProperty "java.home") "bin" "keytool") "-genkeypair" "-alias" "x" "-keyalg" "EC"
                 "-groupname" "secp384r1" "-dname" "CN=x" "-ext" "san=dns:localhost,dns:*.wild.test,ip:127.0.0.1,ip:::1"
                 "-keystore" path "-storepass" password))
    path))

(deftest keystores-of-every-kind-are-read
  (let [p12   (certs/path "server.p12")
        other (fn [type]
                (let [path (certs/path (str "server." type))]
                  (when-not (.exists (io/file path))
                    (certs/run (io/file (System/getProperty "java.home") "bin" "keytool") "-importkeystore" "-noprompt"
                               "-srckeystore" p12 "-srcstorepass" password
                               "-destkeystore" path "-deststoretype" type "-deststorepass" password))
                  path))
        with  #(thrown (merge {:ssl-port 0 :key-password password} %))]
    (doseq [[kind options] {"a path"             {:keystore p12}
                            "a File"             {:keystore (io/file p12)}
                            "a Path"             {:keystore (.toPath (io/file p12))}
                            "a URL"              {:keystore (.toURL (.toURI (io/file p12)))}
                            "a KeyStore"         {:keystore (certs/load-store "server.p12")}
                            "JKS"                {:keystore (other "JKS")}
                            "JCEKS"              {:keystore (other "JCEKS")}
                            "a type that is given" {:keystore (other "JCEKS") :keystore-type "JCEKS"}
                            "a char array"       {:keystore p12 :key-password (.toCharArray ^String password)}
                            "a password of keys" {:keystore (other "JKS") :key-manager-password password}
                            "made by keytool"    {:keystore (made-by-keytool)}}]
      (testing kind
        (is (= [names-of-server] (with options)))))
    (testing "the class path"
      (let [thread (Thread/currentThread)
            before (.getContextClassLoader thread)]
        (with-open [loader (URLClassLoader. (into-array URL [(.toURL (.toURI (.getParentFile (io/file p12))))]) before)]
          (.setContextClassLoader thread loader)
          (try (is (= [names-of-server] (with {:keystore "classpath:server.p12"})))
               (finally (.setContextClassLoader thread before))))))))

(deftest all-keys-of-a-store-are-used-in-the-order-of-their-aliases
  (let [store (doto (KeyStore/getInstance "PKCS12") (.load nil nil))
        chars (.toCharArray ^String password)]
    (doseq [[alias name] [["z" "server"] ["b" "other"] ["m" "client"]]
            :let [from (certs/load-store (str name ".p12"))]]
      (.setKeyEntry store alias (.getKey from name chars) chars (.getCertificateChain from name)))
    (is (= [["other.test"] ["client.test"] names-of-server] (thrown {:ssl-port 0 :keystore store :key-password password})))))

(defn- without-public-key
  "The path of the key of `name`, default `server`, without the public key, which is optional in an EC key."
  [label form & [name]]
  (let [path (certs/path (str "bare-" form ".key"))]
    (certs/run "openssl" "ec" "-in" (certs/path (str (or name "server") ".key")) "-no_public" "-out" path)
    (when (= form "pkcs8")
      (certs/run "openssl" "pkcs8" "-topk8" "-nocrypt" "-in" path "-out" (str path ".8"))
      (certs/replace-file! (str path ".8") path))
    (assert (str/starts-with? (slurp path) (str "-----BEGIN " label)))
    path))

(deftest pem-keys-of-every-kind-are-read
  (certs/issue "rsa" "DNS:rsa.test" (certs/rsa 2048))
  (certs/issue "p384" "DNS:p384.test" ["-algorithm" "EC" "-pkeyopt" "ec_paramgen_curve:P-384"])
  (certs/issue "ed25519" "DNS:ed25519.test" ["-algorithm" "ED25519"])
  (let [sec1   (certs/path "sec1.key")
        pkcs1  (certs/path "pkcs1.key")
        both   (certs/path "both.pem")
        server {:cert (certs/path "server.pem")}]
    (certs/run "openssl" "ec" "-in" (certs/path "server.key") "-out" sec1)
    (certs/run "openssl" "rsa" "-in" (certs/path "rsa.key") "-traditional" "-out" pkcs1)
    (spit both (str (slurp (certs/path "server.key")) "text between\r\n" (slurp (certs/path "server.pem"))))
    (doseq [[kind names tls]
            [["PKCS#8"                  names-of-server      (certs/pem "server")]
             ["PKCS#8 of RSA"           ["rsa.test"]         (certs/pem "rsa")]
             ["P-384"                   ["p384.test"]        (certs/pem "p384")]
             ["Ed25519"                 ["ed25519.test"]     (certs/pem "ed25519")]
             ["SEC 1"                   names-of-server      (assoc server :key sec1)]
             ["SEC 1 behind parameters" names-of-server      (assoc server :key (scratch "parameters.key" (str "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" (slurp sec1))))]
             ["PKCS#8 without its public key" names-of-server (assoc server :key (without-public-key "PRIVATE KEY" "pkcs8"))]
             ["SEC 1 without its public key" names-of-server (assoc server :key (without-public-key "EC PRIVATE KEY" "ec"))]
             ["PKCS#1"                  ["rsa.test"]         {:cert (certs/path "rsa.pem") :key pkcs1}]
             ["encrypted, AES-256"      names-of-server      (assoc server :key (encrypted-key "aes.key" "-v2" "aes256") :key-password "secret")]
             ["encrypted, scrypt's elder" names-of-server    (assoc server :key (encrypted-key "sha1.key" "-v2" "aes128" "-v2prf" "hmacWithSHA1") :key-password "secret")]
             ["encrypted, PBES1"        names-of-server      (assoc server :key (encrypted-key "pbes1.key" "-v1" "PBE-SHA1-3DES") :key-password "secret")]
             ["both in one file"        names-of-server      {:cert both :key both}]
             ["Files"                   names-of-server      {:cert (io/file (certs/path "server.pem")) :key (io/file (certs/path "server.key"))}]]]
      (testing kind
        (is (= [names] (thrown {:ssl-port 0 :tls tls}))))))
  (is (= [names-of-server ["other.test"]] (thrown {:ssl-port 0 :tls [(certs/pem "server") (certs/pem "other")]}))))

;; What native TLS cannot use

(def ^:private p-521 ["-algorithm" "EC" "-pkeyopt" "ec_paramgen_curve:P-521"])

(deftest a-key-that-is-not-the-certificates-is-named
  (let [cert (certs/path "server.pem")
        key  (certs/path "other.key")]
    (is (= [IllegalArgumentException (str ":tls :key \"" key "\" does not belong to the certificate in \"" cert "\"")]
           (thrown {:ssl-port 0 :tls [(certs/pem "client") {:cert cert :key key}]})))
    (let [bare (without-public-key "PRIVATE KEY" "pkcs8" "other")]
      (is (= [IllegalArgumentException (str ":tls :key \"" bare "\" does not belong to the certificate in \"" cert "\"")]
             (thrown {:ssl-port 0 :tls {:cert cert :key bare}}))))
    (let [chars (.toCharArray ^String password)
          mixed (doto (KeyStore/getInstance "PKCS12")
                  (.load nil nil)
                  (.setKeyEntry "mixed" (.getKey (certs/load-store "other.p12") "other" chars) chars
                    (.getCertificateChain (certs/load-store "server.p12") "server")))]
      (is (= [IllegalArgumentException ":keystore entry \"mixed\": its key does not belong to its certificate"]
             (thrown {:ssl-port 0 :keystore mixed :key-password password}))))))

(deftest keys-that-are-too-weak-or-unknown-are-named
  (doseq [[name new-key kind] [["weak.test" (certs/rsa 1024) "RSA of 1024 bits"]
                               ["p521.test" p-521 "ECDSA P-521"]]]
    (certs/issue name (str "DNS:" name) new-key)
    (is (= [IllegalArgumentException
            (str "certificate of \"" name "\": " kind "; supported are RSA of 2048 to 4096 bits, ECDSA P-256 and P-384, Ed25519")]
           (thrown {:ssl-port 0 :tls (certs/pem name)})))))

(deftest a-key-that-cannot-be-used-is-named-and-not-its-certificate
  (let [cert   (certs/path "server.pem")
        with   #(thrown {:ssl-port 0 :tls {:cert cert :key %}})
        broken (scratch "no-key.pem" "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")]
    (is (= [IllegalArgumentException (str ":tls :key \"" broken "\" is neither PKCS#8 nor PKCS#1 nor SEC1")] (with broken)))
    (certs/issue "p521.test" "DNS:p521.test" p-521)
    (let [key             (certs/path "p521.test.key")
          [class message] (with key)]
      (is (= IllegalArgumentException class))
      (is (str/starts-with? message (str ":tls :key \"" key "\" cannot be used: ")))
      (is (not (str/includes? message cert))))))

(deftest an-expired-certificate-is-a-warning
  (is (= ["certificate of \"localhost\" expired on 2001-01-01"]
         (warnings {:ssl-port 0 :tls (certs/pem "expired")}))))

(deftest a-server-whose-certificate-is-wrong-leaves-nothing-bound
  (let [port (with-open [s (ServerSocket. 0)] (.getLocalPort s))]
    (with-open [_taken (ServerSocket. port)]
      (is (= FileNotFoundException (first (thrown {:port port :ssl-port 0 :keystore "no.p12"})))
          "before the address is asked for")
      (is (= IllegalArgumentException
             (first (thrown {:port port :ssl-port 0 :tls {:cert (certs/path "server.pem") :key (certs/path "other.key")}})))))
    (is (= java.net.BindException
           (with-open [taken (ServerSocket. 0)]
             (first (thrown {:port port :ssl-port (.getLocalPort taken) :ip "0.0.0.0" :tls (certs/pem "server")})))))
    (is (= [names-of-server] (thrown {:port port :ssl-port 0 :tls (certs/pem "server")})) "the plain port is free again")))

;; From Java

(defn- java-thrown
  "[class message] of what a server throws that listens with what `options`, a function, makes of TlsOptions; or :listening."
  [options]
  (let [server (HttpServer. "127.0.0.1" 0 (reify IHandler (close [_ _])) 1000 1000 1000 ProxyProtocolOption/DISABLED)]
    (try (.listen (.tls server) (InetSocketAddress. "127.0.0.1" 0)
           (options (.certificate (TlsOptions.) (certs/path "server.pem") (certs/path "server.key") nil)))
         :listening
         (catch Exception e [(class e) (ex-message e)])
         (finally (.start server) (.stop server 0)))))

(deftest authorities-without-clients-certificates-are-refused-from-java-too
  (let [ca   (certs/path "ca.pem")
        says (fn [option] [IllegalArgumentException (str option " has no effect without :client-auth")])]
    (is (= (says ":ca in :tls") (java-thrown #(.authorities ^TlsOptions % ca))))
    (is (= (says ":truststore") (java-thrown #(.trustStore ^TlsOptions % (certs/path "trust.p12") nil (.toCharArray ^String password)))))
    (is (= (says ":crl in :tls") (java-thrown #(.revocations ^TlsOptions % "none.pem"))))
    (is (= :listening (java-thrown #(.clientAuth (.authorities ^TlsOptions % ca) TlsOptions$ClientAuth/NONE))) "switched off")))

(deftest nulls-from-java-are-named
  (doseq [[message options]
          {"the TLS options are null"                                            (constantly nil)
           ":client-auth null: expected NONE, WANT or NEED"                     #(.clientAuth ^TlsOptions % nil)
           ":ssl-protocols \"null\": only TLSv1.3 and TLSv1.2 are supported"    #(.protocols ^TlsOptions % (into-array String [nil]))
           ":ssl-protocols: expected TLSv1.3, TLSv1.2 or both"                  #(.protocols ^TlsOptions % nil)
           ":tls :ca nil: expected a path, a File, a URL or \"classpath:...\"" #(.authorities ^TlsOptions % nil)}]
    (is (= [IllegalArgumentException message] (java-thrown options)))))
